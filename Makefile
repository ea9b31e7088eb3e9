# The one front door. `make help` lists the targets; P=preset picks a CMake preset.
P ?= release
T ?= .
BUILD = build/$(P)
BIN = build/release/dsv4
JOBS ?= $(shell nproc)

.PHONY: all build program setup chat serve test test-asan test-tsan golden-report quality-report fuzz test-readers test-schemas test-page test-clients test-api test-all bench bench-model bench-compare lint format check install clean help

all: build

build: ## configure and build the preset P (default: release)
	@cmake --preset $(P) >/dev/null || cmake --preset $(P)
	cmake --build --preset $(P) -j $(JOBS)

program: ## build the program alone, without tests
	@cmake --preset release >/dev/null || cmake --preset release
	cmake --build --preset release -j $(JOBS) --target dsv4

serve: setup ## install what is missing, build, serve the bundled model at http://127.0.0.1:8000
	@$(MAKE) --no-print-directory program
	$(BIN) serve -m models/mini

setup: ## install the Debian packages of packages.txt that are missing
	@scripts/setup.sh build

chat: setup ## install what is missing, build, chat with the bundled model
	@$(MAKE) --no-print-directory program
	$(BIN) chat -m models/mini

test: setup ## install what is missing, build, run all tests; T=pattern picks some
	@$(MAKE) --no-print-directory build
	ctest --test-dir $(BUILD) --output-on-failure -R '$(T)'

test-all: ## the long forms of the tests too: clients, page, schemas, readers, many more cases
	@DSV4_TEST_ALL=1 $(MAKE) --no-print-directory test
	@$(MAKE) --no-print-directory test-readers test-schemas test-clients test-api test-page

test-asan: ## the tests under the address and undefined behaviour sanitizers
	@$(MAKE) --no-print-directory test P=asan

test-tsan: ## the tests under the thread sanitizer
	@$(MAKE) --no-print-directory test P=tsan

golden-report: setup ## measure the differences to every golden vector into docs/numerics.md
	@$(MAKE) --no-print-directory build P=release
	scripts/golden-report.sh build/release/tests/model/golden_report

quality-report: setup ## measure what each type of weights costs into docs/quality.md
	@$(MAKE) --no-print-directory build P=release
	scripts/quality-report.sh build/release/dsv4

fuzz: ## run the fuzz targets for S seconds each (default 60); N=name picks one
	@scripts/setup.sh build dev
	@cmake --preset fuzz >/dev/null
	cmake --build --preset fuzz -j $(JOBS) --target fuzzers
	scripts/fuzz.sh build/fuzz '$(N)' $${S:-60}

test-readers: ## compare GGUF files with the public Python readers, which it downloads
	@$(MAKE) --no-print-directory build P=release
	@[ -x build/readers/bin/python ] || python3 -m venv build/readers
	@build/readers/bin/python -m pip install -q --disable-pip-version-check -r tests/readers/requirements.txt
	tests/readers/run.sh build/release build/readers/bin/python

test-page: ## the chat page in headless Chromium; screenshots in build/page
	@scripts/setup.sh build page
	@$(MAKE) --no-print-directory build P=release
	python3 tests/page/page_test.py src/server/page build/page --dsv4 $(BIN) --model models/mini

# The environment of the public clients, made anew when the list of them changes.
build/clients/.ready: tests/clients/requirements.txt
	@rm -rf build/clients
	@python3 -m venv build/clients
	@build/clients/bin/python -m pip install -q --disable-pip-version-check -r $<
	@touch $@

test-clients: build/clients/.ready ## the server with the public Python clients, which it downloads
	@$(MAKE) --no-print-directory build P=release
	build/clients/bin/python tests/clients/run.py --dsv4 $(BIN) --model models/mini

test-api: build/clients/.ready ## requests drawn from the server's own description; EXAMPLES=N of each kind
	@$(MAKE) --no-print-directory build P=release
	build/clients/bin/python tests/clients/run_api.py --dsv4 $(BIN) --model models/mini --examples $${EXAMPLES:-100}

test-schemas: ## validate random texts and replies of 289 JSON schemas with a public package, which it downloads
	@$(MAKE) --no-print-directory build P=release
	@[ -x build/schemas/bin/python ] || python3 -m venv build/schemas
	@build/schemas/bin/python -m pip install -q --disable-pip-version-check -r tests/grammar/requirements.txt
	build/release/tests/grammar/sample_schemas 20 $${SEED:-1} | build/schemas/bin/python tests/grammar/check_schemas.py
	cat tests/grammar/data/*.jsonl | build/schemas/bin/python tests/grammar/sample_served.py $(BIN) models/mini 20 >build/schemas/served.jsonl
	build/schemas/bin/python tests/grammar/check_schemas.py <build/schemas/served.jsonl

bench: setup ## measure the kernels against the machine's limits (rows in build/bench)
	@$(MAKE) --no-print-directory build P=release
	@scripts/bench.sh $(BIN) build/bench kernels

bench-model: setup ## the same for 3 layers of Flash in five formats, 6 to 13 GB each; TYPES= picks
	@$(MAKE) --no-print-directory build P=release
	@scripts/bench.sh $(BIN) build/bench model

bench-compare: setup ## print run B=file.jsonl beside the earlier run A=file.jsonl
	@$(MAKE) --no-print-directory build P=release
	@$(BIN) bench --markdown --replay '$(B)' --compare '$(A)'

format: ## clang-format the whole tree
	@scripts/setup.sh dev
	git ls-files '*.cc' '*.h' | xargs clang-format-14 -i

lint: ## format, levels of inclusion, headers alone, file sizes
	@scripts/setup.sh build dev
	scripts/lint.sh

check: lint test ## what a change must pass

install: ## install the binary under PREFIX (default /usr/local)
	@$(MAKE) --no-print-directory build P=release
	cmake --install build/release --prefix $${PREFIX:-/usr/local}

clean: ## remove the build folders
	rm -rf build

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16
