"""Requests drawn from the server's own OpenAPI description: none may be answered with 5xx, and
what is answered must be as described. Usage: run_api.py --dsv4 PROGRAM --model DIR [--examples N]
"""

import argparse
import pathlib
import subprocess
import sys

import harness

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsv4", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    server = harness.LocalServer(args.dsv4, args.model, with_keys=False)
    # The program beside this interpreter, whichever environment that is.
    schemathesis = pathlib.Path(sys.executable).parent / "schemathesis"
    code = subprocess.run([schemathesis, "run", server.url + "/openapi.json", "--checks", CHECKS, "--max-examples", str(args.examples),
                           "--seed", str(args.seed), "--phases", "examples,coverage,fuzzing", "--request-timeout", "60",
                           "--generation-database", "none", "--continue-on-failure", "--no-color"],
                          check=False, cwd=server.work.name).returncode
    running = server.is_running()
    ended = server.stop()
    if not running or ended != 0:
        print(f"FAILED  the server {'ended' if running else 'had ended'} with {ended}:\n{server.log_text()[-3000:]}")
        code = code or 1
    return code


if __name__ == "__main__":
    sys.exit(main())
