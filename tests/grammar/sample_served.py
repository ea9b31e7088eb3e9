"""Asks a server for replies to each JSON schema at temperature 2, for check_schemas.py.

Usage: sample_served.py DSV4 MODEL N < lines of schemas
Starts `DSV4 serve -m MODEL` on a free port; prints a line for each of N replies that ended by
themselves. Exits with 1 when a request fails or most replies were cut off.
"""
import concurrent.futures
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time

MAX_TOKENS = 400
AT_ONCE = 8
MAX_CHOICES = 10  # of a request


def start(dsv4, model, folder):
    port_file = os.path.join(folder, "port")
    server = subprocess.Popen([dsv4, "serve", "-m", model, "--port", "0", "--port-file", port_file, "--quiet"])
    while not os.path.exists(port_file):
        if server.poll() is not None:
            sys.exit("the server did not start")
        time.sleep(0.02)
    with open(port_file) as file:
        return server, int(file.read())


def ask(port, schema, seed, n):
    body = {
        "model": "mini", "n": n, "seed": seed, "temperature": 2, "max_tokens": MAX_TOKENS,
        "messages": [{"role": "user", "content": "Go"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "any", "schema": schema}},
    }
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    response = connection.getresponse()
    text = response.read()
    if response.status != 200:
        sys.exit("status %d for %s: %s" % (response.status, json.dumps(schema), text.decode()))
    return json.loads(text)["choices"]


def main():
    dsv4, model, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
    # The API takes objects only, of which true and false are none.
    items = [item for item in map(json.loads, sys.stdin) if isinstance(item["schema"], dict)]
    tasks = [(item, first) for item in items for first in range(0, n, MAX_CHOICES)]
    n_whole = n_cut = 0
    with tempfile.TemporaryDirectory() as folder:
        server, port = start(dsv4, model, folder)
        try:
            with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
                replies = pool.map(
                    lambda task: ask(port, task[0]["schema"], task[1], min(MAX_CHOICES, n - task[1])), tasks)
                for (item, _), choices in zip(tasks, replies):
                    for choice in choices:
                        if choice["finish_reason"] == "length":
                            n_cut += 1
                            continue
                        n_whole += 1
                        print(json.dumps({"name": item["name"], "schema": item["schema"],
                                          "text": choice["message"]["content"]}))
        finally:
            server.terminate()
            server.wait()
    print("%d replies, %d cut off by their length" % (n_whole + n_cut, n_cut), file=sys.stderr)
    return 1 if n_cut > n_whole else 0


sys.exit(main())
