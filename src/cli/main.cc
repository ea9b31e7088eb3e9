// The dsv4 program: adds the subcommands, runs the chosen one, turns exceptions into one line on
// standard error and an exit code.
#include "cli/commands.h"

#include "base/error.h"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>
#include <new>

namespace {

constexpr const char* kFooter =
    "Exit codes: 0 success, 1 failure (one line on standard error says why), 2 wrong options,\n"
    "3 the comparison or evaluation found a difference, 130 interrupted.";

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("dsv4 runs DeepSeek V4 models.", "dsv4");
  app.set_version_flag("--version", "dsv4 " DSV4_VERSION);
  app.require_subcommand(1);
  app.footer(kFooter);
  dsv4::cli::add_bench(app);
  dsv4::cli::add_compare(app);
  dsv4::cli::add_detokenize(app);
  dsv4::cli::add_encode(app);
  dsv4::cli::add_chat(app);
  dsv4::cli::add_eval(app);
  dsv4::cli::add_inspect(app);
  dsv4::cli::add_logits(app);
  dsv4::cli::add_parse(app);
  dsv4::cli::add_plan(app);
  dsv4::cli::add_run(app);
  dsv4::cli::add_serve(app);
  dsv4::cli::add_quantize(app);
  dsv4::cli::add_calibrate(app);
  dsv4::cli::add_synth(app);
  dsv4::cli::add_tokenize(app);

  try {
    app.parse(argc, argv);
    return dsv4::cli::kSuccess;
  } catch (const CLI::RuntimeError& exit) {
    return exit.get_exit_code();
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? dsv4::cli::kSuccess : dsv4::cli::kUsage;
  } catch (const std::bad_alloc&) {
    std::fputs("dsv4: error: out of memory\n", stderr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "dsv4: error: %s\n", error.what());
  }
  return dsv4::cli::kFailure;
}
