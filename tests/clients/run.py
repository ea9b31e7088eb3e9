"""Tries a server with the public client libraries.

Usage: run.py --dsv4 PROGRAM --model DIR [--only TEXT]    starts the program, with keys
       run.py --url URL --key KEY --model DIR             takes a server that runs
"""

import argparse
import sys

import harness
import openai_chat, openai_responses, anthropic_messages, langchain_chat  # noqa: E401, F401  register their tests


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsv4")
    parser.add_argument("--model", required=True)
    parser.add_argument("--url")
    parser.add_argument("--key", default=harness.KEY)
    parser.add_argument("--only", default="", help="tests whose name has this in it")
    args = parser.parse_args()
    server = None
    if not args.url:
        server = harness.LocalServer(args.dsv4, args.model, with_keys=True)
    n_failed = harness.run(harness.Target(args.url or server.url, args.key, args.model), args.only)
    if server:
        running = server.is_running()
        code = server.stop()
        if not running or code != 0:
            n_failed += 1
            print(f"FAILED  the server {'ended' if running else 'had ended'} with {code}:\n{server.log_text()[-3000:]}")
    print(f"{n_failed} failed" if n_failed else "all passed")
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
