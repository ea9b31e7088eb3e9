"""What the tests of clients share: the server, questions whose answers are known, checks."""

import hashlib
import json
import pathlib
import subprocess
import tempfile
import time

KEY = "sk-test-of-clients"
OTHER_KEY = "sk-test-of-another"
TESTS = []  # (name, function of a Target)


class Failure(AssertionError):
    pass


def check(condition, message="is not so"):
    if not condition:
        raise Failure(message)


def equal(found, expected, what="value"):
    if found != expected:
        raise Failure(f"{what}: found {found!r}, expected {expected!r}")


def raises(kind, call):
    """The exception of that kind that the call must end with."""
    try:
        call()
    except kind as error:
        return error
    raise Failure(f"no {kind.__name__}")


def test(function):
    TESTS.append((f"{function.__module__}.{function.__name__}", function))
    return function


class Target:
    """A server under test and the known questions of its model."""

    def __init__(self, url, key, model_dir):
        self.url = url.rstrip("/")
        self.key = key
        self.cases = {}
        for line in (pathlib.Path(model_dir) / "eval.jsonl").read_text("utf-8").splitlines():
            case = json.loads(line)
            self.cases[case["id"]] = case

    def question(self, name):
        """Messages, tools and the expected answer of a case, as a client has them."""
        case = self.cases[name]
        messages = json.loads(json.dumps(case["messages"]))
        tools = messages[0].pop("tools", []) if messages else []
        return messages, tools, case["expected"]


class LocalServer:
    """`dsv4 serve` with the bundled model, on a free port, with two keys if asked for."""

    def __init__(self, program, model_dir, with_keys, options=()):
        self.work = tempfile.TemporaryDirectory()
        work = pathlib.Path(self.work.name)
        arguments = [program, "serve", "-m", str(model_dir), "--port", "0", "--port-file", str(work / "port"), *options]
        if with_keys:
            lines = [f"{name} {hashlib.sha256(key.encode()).hexdigest()}\n" for name, key in (("one", KEY), ("two", OTHER_KEY))]
            (work / "keys").write_text("".join(lines))
            (work / "keys").chmod(0o600)
            arguments += ["--api-keys", str(work / "keys")]
        self.log = open(work / "log", "w+", encoding="utf-8")
        self.process = subprocess.Popen(arguments, stdout=self.log, stderr=self.log)
        end = time.monotonic() + 120
        while not (work / "port").exists() or not (work / "port").read_text().strip():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise SystemExit(f"the server does not start:\n{self.log_text()}")
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{(work / 'port').read_text().strip()}"

    def log_text(self):
        self.log.flush()
        return (pathlib.Path(self.work.name) / "log").read_text("utf-8")

    def is_running(self):
        return self.process.poll() is None

    def stop(self):
        """Asks it to end; returns its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def run(target, only):
    n_failed = 0
    for name, function in TESTS:
        if only not in name:
            continue
        start = time.monotonic()
        try:
            function(target)
            print(f"ok      {name} ({time.monotonic() - start:.1f} s)", flush=True)
        except Exception as error:
            n_failed += 1
            print(f"FAILED  {name}: {type(error).__name__}: {str(error)[:1500]}", flush=True)
    return n_failed
