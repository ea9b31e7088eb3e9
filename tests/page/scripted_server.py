"""Serves the chat page as dsv4 does, with replies from a script: what a model must not be relied on
to say (markup, tool calls, errors) is said when the message asks for it by a word."""

import http.server
import json
import pathlib
import threading
import time

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
POLICY = ("default-src 'self'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
          "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")

RICH = """## A short plan

Sorting **in place** needs `O(1)` memory. Three steps, *in this order*:

1. Split the list at the middle,
2. sort both halves:
   - the left one
   - the right one
3. merge them.

```python
def merge(a: list[int], b: list[int]) -> list[int]:
    out = []
    while a and b:
        out.append((a if a[0] <= b[0] else b).pop(0))
    return out + a + b
```

| case | comparisons | stable |
|:-----|-----------:|:------:|
| best | n log n / 2 | yes |
| worst | n log n | yes |

> The bound $n \\log_2 n$ holds for any input.

See [the article](https://en.wikipedia.org/wiki/Merge_sort) for more."""

HOSTILE = """<script>window.pwned = 1</script>
<img src=x onerror="window.pwned = 2">

[click](javascript:window.pwned=3) and [data](data:text/html,<script>window.pwned=4</script>)
and [odd](JaVaScRiPt:window.pwned=5) and <javascript:window.pwned=6>
![image](https://example.invalid/x.png "onload=window.pwned=7")

```html" onmouseover="window.pwned=8
</code></pre><script>window.pwned = 9</script>
```

| <b>cell</b> | <svg onload="window.pwned=10"> |
|---|---|
| `</td><script>` | [x](vbscript:1) |

[good](https://example.com/?q="onclick=1) **<i>bold</i>**"""

THOUGHTS = "The user wants the list sorted. Merge sort is stable and has a good bound, so I explain that one. " * 6


def chunk(delta, finish=None, **more):
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "mini",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def pieces(text, size=7):
    return [text[i:i + size] for i in range(0, len(text), size)]


def script(word, n_turns):
    """The reply as (delta, seconds to wait before it) and how it ends."""
    if word == "hostile":
        return [({"content": p}, 0.001) for p in pieces(HOSTILE, 3)], "stop"
    if word == "slow":
        return [({"content": f"word{i} "}, 0.03) for i in range(2000)], "stop"
    if word == "long":
        return [({"content": p}, 0.0) for p in pieces(("Paragraph with **bold** text. " * 8 + "\n\n") * 300, 40)], "stop"
    if word == "short":
        return [({"content": p}, 0.01) for p in pieces("A reply that ends early because")], "length"
    if word == "weather" and n_turns == 0:
        call = '{"city": "Reykjavík", "days": [1, 2, 3], "units": {"temperature": "C"}}'
        head = [({"reasoning_content": p}, 0.004) for p in pieces("I need the forecast, so I call the tool.")]
        first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "forecast", "arguments": ""}}
        return head + [({"tool_calls": [first]}, 0.01)] + [
            ({"tool_calls": [{"index": 0, "function": {"arguments": p}}]}, 0.004) for p in pieces(call)], "tool_calls"
    if word == "think":
        return [({"reasoning_content": p}, 0.012) for p in pieces(THOUGHTS)] + [
            ({"content": p}, 0.004) for p in pieces(RICH)], "stop"
    return [({"content": p}, 0.005) for p in pieces(RICH)], "stop"


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, page_dir):
        super().__init__(("127.0.0.1", 0), Handler)
        self.page_dir = pathlib.Path(page_dir)
        self.key = None  # asked for when set
        self.requests = []  # bodies of chat completions
        self.n_gone = 0  # clients that left during a reply
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body, content_type="application/json", headers=()):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def error(self, status, message, headers=(), **more):
        body = {"error": {"message": message, "type": "invalid_request_error", **more}}
        self.answer(status, json.dumps(body).encode(), headers=headers)

    def allowed(self):
        key = self.server.key
        if key is None or self.headers.get("Authorization") == f"Bearer {key}":
            return True
        self.error(401, "Incorrect API key provided.")
        return False

    def do_GET(self):
        if self.path == "/v1/models":
            if self.allowed():
                ids = ["deepseek-v4-flash", "mini"]
                self.answer(200, json.dumps({"object": "list", "data": [{"id": i, "object": "model"} for i in ids]}).encode())
            return
        name = "index.html" if self.path == "/" else self.path[1:]
        file = self.server.page_dir / name
        if "/" in name or not file.is_file():
            return self.error(404, f"There is nothing at {self.path}.")
        self.answer(200, file.read_bytes(), TYPES[file.suffix])

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.allowed():
            return
        self.server.requests.append(body)
        users = [m for m in body["messages"] if m["role"] == "user"]
        word = users[-1]["content"].split()[0].lower()
        if word == "busy":
            return self.error(429, "Rate limit reached for this key.", [("Retry-After", "2")])
        if word == "wrong":
            return self.error(400, "Expected a number of at most 2.", param="temperature")
        n_results = sum(m["role"] == "tool" for m in body["messages"])
        self.stream(*script(word, n_results), body, word)

    def stream(self, deltas, finish, body, word):
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            self.event(chunk({"role": "assistant", "content": ""}))
            for i, (delta, wait) in enumerate(deltas):
                if wait:
                    time.sleep(wait)
                if word == "die" and i == 20:
                    return
                if word == "fail" and i == 20:
                    return self.event({"error": {"message": "The engine stopped.", "type": "server_error"}})
                self.event(chunk(delta))
            self.event(chunk({}, finish))
            prompt = sum(len(m["content"]) for m in body["messages"])
            usage = {"prompt_tokens": prompt, "completion_tokens": len(deltas), "total_tokens": prompt + len(deltas),
                     "prompt_tokens_details": {"cached_tokens": prompt * 3 // 4 if len(body["messages"]) > 2 else 0}}
            self.event({**chunk({}), "choices": [], "usage": usage})
            self.wfile.write(b"data: [DONE]\n\n")
        except (BrokenPipeError, ConnectionResetError):
            self.server.n_gone += 1

    def event(self, data):
        self.wfile.write(b"data: " + json.dumps(data).encode() + b"\n\n")
        self.wfile.flush()


if __name__ == "__main__":
    import sys
    server = Server(sys.argv[1])
    print(server.url, flush=True)
    threading.Event().wait()
