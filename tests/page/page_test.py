"""The chat page in headless Chromium: sends, streams, stops, reloads, fails, on a desk and on a phone.

Usage: page_test.py PAGE_DIR OUT_DIR [--dsv4 PROGRAM --model DIR]
Screenshots go to OUT_DIR. With a program, the page that it serves is tried with its model too.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import traceback

from devtools import Browser, Failure, Page
from scripted_server import Server

IDLE = "document.getElementById('stop').hidden && document.querySelector('.stats span')"
LAST = "[...document.querySelectorAll('.message.assistant')].at(-1)"
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def check(condition, message):
    if not condition:
        raise Failure(message)


class Run:
    def __init__(self, browser, server, out):
        self.browser, self.server, self.out = browser, server, out

    def page(self, **options):
        page = Page(self.browser, **options)
        page.go(self.server.url)
        page.wait("document.getElementById('model').value")
        return page


def send(page, text):
    page.eval("document.getElementById('input').focus()")
    page.type(text)
    page.key("Enter")


def say(page, text):
    """Sends and waits for the end of the reply."""
    n = page.eval("document.querySelectorAll('.message.assistant').length")
    send(page, text)
    page.wait(f"document.querySelectorAll('.message.assistant').length > {n} && {IDLE}")


@test
def streams_a_reply_with_folded_thoughts_and_numbers(run):
    page = run.page()
    page.screenshot(run.out / "empty.png")
    send(page, "think about sorting")
    page.wait("document.querySelector('.thinking.now')")
    check(not page.eval("document.querySelector('.thinking').open"), "thoughts are folded")
    check(page.eval("document.getElementById('messages').getAttribute('aria-busy')") == "true", "busy while streaming")
    page.screenshot(run.out / "thinking.png")
    page.wait(f"{LAST}.querySelector('.text').textContent.includes('in place')")
    page.wait(IDLE)
    page.screenshot(run.out / "reply.png")
    kinds = page.eval(f"[...{LAST}.querySelector('.text').children].map((e) => e.tagName + '.' + e.className)")
    check(kinds == ["H4.level-2", "P.", "OL.", "DIV.code", "DIV.table", "BLOCKQUOTE.", "P."], f"blocks {kinds}")
    check(page.eval(f"{LAST}.querySelectorAll('ol > li').length") == 3, "three steps")
    check(page.eval(f"{LAST}.querySelectorAll('ol ul > li').length") == 2, "a list in the list")
    check("$n \\log_2 n$" in page.eval(f"{LAST}.querySelector('blockquote').textContent"), "formulas stay text")
    link = page.eval(f"(a => [a.href, a.rel])({LAST}.querySelector('a'))")
    check(link == ["https://en.wikipedia.org/wiki/Merge_sort", "noopener noreferrer"], f"link {link}")
    stats = page.eval(f"{LAST}.querySelector('.stats').innerText")
    for part in ("tokens/s", "first after", " out", "% cached"):
        check(part in stats, f"{part} in {stats}")
    scroller = page.eval("(s => [s.scrollTop + s.clientHeight, s.scrollHeight])(document.getElementById('scroller'))")
    check(scroller[0] >= scroller[1] - 2, f"follows the reply: {scroller}")
    page.eval("document.querySelector('.thinking > summary').click()")
    page.wait("document.querySelector('.thinking-text').textContent.startsWith('The user wants')")
    page.screenshot(run.out / "thoughts.png")
    body = run.server.requests[-1]
    check(body["stream"] is True and body["reasoning_effort"] == "high", "what is asked of the server")
    return page


@test
def stops_a_reply_and_leaves_the_server(run):
    page = run.page()
    gone = run.server.n_gone
    send(page, "slow please")
    page.wait(f"{LAST}.querySelector('.text').textContent.includes('word9')")
    check("tokens/s" in page.eval(f"{LAST}.querySelector('.stats').innerText"), "live speed")
    page.key("Escape")
    page.wait(IDLE)
    check("Stopped" in page.eval(f"{LAST}.innerText"), "says that it was stopped")
    end = time.monotonic() + 10
    while run.server.n_gone == gone and time.monotonic() < end:
        page.eval("1")
    check(run.server.n_gone == gone + 1, "the server sees that the client left")
    page.click(".message.assistant [aria-label='Try again']")
    page.wait(f"{LAST}.querySelector('.text').textContent.includes('word3')")
    page.click("#stop")
    page.wait(IDLE)
    check(page.eval("document.querySelectorAll('.message').length") == 2, "trying again replaces the reply")
    return page


@test
def keeps_conversations_over_a_reload(run):
    page = run.page()
    say(page, "hello & <b>bye</b>")
    say(page, "short one")
    check("limit on its length" in page.eval(f"{LAST}.innerText"), "says that the reply was cut off")
    send(page, "slow one")
    page.wait(f"{LAST}.querySelector('.text').textContent.includes('word5')")
    before = page.eval("location.href")
    page.go(before)  # the same document: only its hash counts
    page.call("Page.reload")
    page.wait("document.querySelectorAll('.message').length === 6")
    check(page.eval("document.querySelector('.bubble').textContent") == "hello & <b>bye</b>", "text as it was typed")
    check("word5" in page.eval(f"{LAST}.innerText"), "what had come of a reply is kept")
    check(page.eval("document.querySelector('#conversations .current .open').textContent") == "hello & <b>bye</b>", "listed")
    page.click("#conversations .current [aria-label^='Rename']")
    page.wait("document.getElementById('ask').open")
    page.eval("document.getElementById('ask-input').value = 'Renamed'")
    page.click("#ask-ok")
    page.wait("document.getElementById('title').textContent === 'Renamed'")
    exported = json.loads(page.eval("import('./store.js').then((s) => s.exportAll())"))
    check(len(exported["conversations"]) == 1 and len(exported["conversations"][0]["messages"]) == 6, "exported")
    again = page.eval(f"import('./store.js').then((s) => s.importAll({json.dumps(json.dumps(exported))}))")
    check(again == 1, "imported beside the old one")
    for bad in ("{", '{"format": "other"}'):
        failed = page.eval(f"import('./store.js').then((s) => s.importAll({json.dumps(bad)})).catch((e) => e.message)")
        check("This file is not" in str(failed), f"refuses {bad}")
    page.call("Page.reload")
    page.wait("document.querySelectorAll('#conversations .open').length === 2")
    page.click("#conversations .current [aria-label^='Delete']")
    page.wait("document.getElementById('ask').open")
    page.click("#ask-ok")
    page.wait("document.querySelectorAll('#conversations .open').length === 1")
    check(page.eval("document.querySelectorAll('.message').length") == 0, "the deleted chat is closed")
    return page


@test
def says_what_went_wrong(run):
    page = run.page()
    send(page, "busy now")
    page.wait(f"{LAST}.querySelector('.error:not([hidden])')")
    check("Rate limit reached" in page.eval(f"{LAST}.innerText"), "the server's message")
    check("Try again in" in page.eval(f"{LAST}.querySelector('.error button').textContent"), "waits as told")
    page.screenshot(run.out / "error.png")
    page.wait(f"!{LAST}.querySelector('.error button').disabled")
    for word, text in (("wrong", "Expected a number of at most 2. (temperature)"), ("die", "before the reply was complete"),
                       ("fail", "The engine stopped.")):
        n = page.eval("document.querySelectorAll('.message.assistant').length")
        send(page, f"{word} now")
        page.wait(f"document.querySelectorAll('.message.assistant').length > {n}")
        page.wait(f"{LAST}.querySelector('.error:not([hidden])')")
        check(text in page.eval(f"{LAST}.innerText"), f"{word}: {page.eval(f'{LAST}.innerText')}")
    check("short plan" in page.eval(f"{LAST}.innerText"), "what came before the failure stays")
    page.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
    send(page, "anyone there")
    page.wait(f"{LAST}.querySelector('.error:not([hidden])')?.innerText.includes('cannot be reached')")
    page.call("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    page.click(".message:last-child .error button")
    page.wait(f"{LAST}.innerText.includes('merge them')")
    page.wait(IDLE)
    return page


@test
def asks_for_a_key(run):
    run.server.key = "sesame"
    page = Page(run.browser)
    page.go(run.server.url)
    page.wait("document.getElementById('key-dialog').open")
    page.screenshot(run.out / "key.png")
    page.type("wrong")
    page.key("Enter")
    page.wait("document.getElementById('key-dialog').open && document.getElementById('key-input').value === ''")
    page.type("sesame")
    page.key("Enter")
    page.wait("document.getElementById('model').value")
    say(page, "hello")
    check(page.eval("localStorage.getItem('dsv4.key')") is None, "the key is not kept unless asked for")
    run.server.key = None
    return page


@test
def shows_calls_and_sends_their_results(run):
    page = run.page()
    say(page, "weather in Iceland")
    check(page.eval(f"{LAST}.querySelector('.call .name').textContent") == "forecast", "name of the function")
    arguments = page.eval(f"{LAST}.querySelector('.call pre').textContent")
    check('"city": "Reykjavík",\n' in arguments, "pretty arguments")
    page.eval(f"{LAST}.querySelector('.results textarea').focus()")
    page.screenshot(run.out / "tool.png")
    page.type("rain")
    page.click(".results button")
    page.wait(f"document.querySelectorAll('.message.assistant').length === 2 && {IDLE}")
    sent = run.server.requests[-1]["messages"]
    check([m["role"] for m in sent] == ["user", "assistant", "tool"], "roles")
    check(sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"] == "call_1", "ids")
    check(sent[2]["content"] == "rain" and sent[1]["reasoning_content"].startswith("I need"), "contents")
    return page


@test
def keeps_hostile_text_inert(run):
    page = run.page()
    say(page, "hostile markup")
    text = f"{LAST}.querySelector('.text')"
    check(page.eval("window.pwned === undefined"), "nothing runs")
    check(page.eval(f"{text}.querySelectorAll('script, img, svg:not(.icon-svg), iframe, [onload], [onerror], [onclick], i, b').length") == 0,
          "markup stays text")
    links = page.eval(f"[...{text}.querySelectorAll('a')].map((a) => a.protocol)")
    check(links and set(links) == {"https:"}, f"links {links}")
    check("<script>window.pwned = 1</script>" in page.eval(f"{text}.textContent"), "it is shown as it is")
    page.screenshot(run.out / "hostile.png")
    page.eval("localStorage.setItem('dsv4.list', '[{\"id\":\"x\\\\\"><img src=x>\"}, 3, null]')")
    page.eval("localStorage.setItem('dsv4.settings', '[1]')")
    page.call("Page.reload")
    page.wait("document.getElementById('model').value")
    return page


@test
def attaches_text_and_refuses_the_rest(run):
    page = run.page()
    page.eval("""(() => {
        const data = new DataTransfer();
        data.items.add(new File(['a = 1\\n```\\nb'], 'code.py'));
        data.items.add(new File([new Uint8Array([137, 80, 78, 71, 0, 255])], 'image.png'));
        data.items.add(new File(['x'.repeat(600 * 1024)], 'large.txt'));
        window.dispatchEvent(new DragEvent('drop', {dataTransfer: data, cancelable: true}));
      })()""")
    page.wait("!document.getElementById('banner').hidden && !document.getElementById('attachments').hidden")
    banner = page.eval("document.getElementById('banner').innerText")
    check("image.png" in banner and "not a text file" in banner, banner)
    check("large.txt" in banner and "at most" in banner, banner)
    page.screenshot(run.out / "files.png")
    say(page, "what is this")
    sent = run.server.requests[-1]["messages"][0]["content"]
    check(sent == "File: code.py\n````py\na = 1\n```\nb\n````\n\nwhat is this", f"sent {sent!r}")
    return page


@test
def edits_an_earlier_message(run):
    page = run.page()
    say(page, "first")
    say(page, "second")
    page.eval("document.querySelector('.message.user .actions [aria-label^=Edit]').click()")
    page.wait("document.activeElement.closest('.editing')")
    page.type(" changed")
    page.screenshot(run.out / "edit.png")
    page.key("Enter")
    page.wait(f"document.querySelectorAll('.message').length === 2 && {IDLE}")
    check([m["content"] for m in run.server.requests[-1]["messages"]] == ["first changed"], "what follows is gone")
    return page


@test
def sends_its_settings(run):
    page = run.page()
    page.click("#open-settings")
    page.wait("document.getElementById('settings').open")
    page.type("Be brief.")
    page.eval("""(() => {
        document.querySelectorAll('#settings details').forEach((d) => { d.open = true; });
        const set = (id, value) => {
          const field = document.getElementById(id);
          field.value = value;
          field.dispatchEvent(new Event('change'));
        };
        set('temperature', 0.5);
        set('max_tokens', 99);
        set('tools', '{"type": 1}');
      })()""")
    check("list of functions" in page.eval("document.getElementById('tools-error').textContent"), "wrong tools")
    page.screenshot(run.out / "settings.png")
    page.key("Escape")
    page.eval("""(() => { const e = document.getElementById('effort'); e.value = 'max'; e.dispatchEvent(new Event('change')); })()""")
    say(page, "hello")
    body = run.server.requests[-1]
    check(body["messages"][0] == {"role": "system", "content": "Be brief."}, "system prompt")
    check((body["temperature"], body["max_tokens"], body["reasoning_effort"]) == (0.5, 99, "max"), "numbers")
    check("top_p" not in body and "tools" not in body, "empty fields are left out")
    return page


@test
def survives_a_full_storage(run):
    page = run.page()
    page.eval("""(() => {
        let part = 'x'.repeat(1 << 20);
        for (let i = 0; part.length > 16; ++i) {
          try { localStorage.setItem('fill' + i, part); } catch { part = part.slice(part.length / 2); }
        }
      })()""")
    say(page, "hello")
    check("storage" in page.eval("document.getElementById('banner').innerText"), "says so")
    check("merge them" in page.eval(f"{LAST}.innerText"), "and goes on")
    return page


@test
def works_by_keyboard_in_both_lights(run):
    page = run.page(dark=True)
    check(page.eval("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 29)", "dark as the system")
    say(page, "think in the dark")
    page.eval("document.querySelector('.thinking > summary').click()")
    page.screenshot(run.out / "dark.png")
    page.click("#theme")
    check(page.eval("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)", "light when asked for")
    page.eval("document.getElementById('input').focus()")
    page.type("two")
    page.key("Enter", shift=True)
    page.type("lines")
    check(page.eval("document.getElementById('input').value") == "two\nlines", "a new line")
    names = []
    page.eval("document.activeElement.blur(); getSelection().removeAllRanges()")
    for _ in range(60):
        page.key("Tab")
        names.append(page.eval("""(() => {
            const e = document.activeElement;
            const name = e.getAttribute('aria-label') || e.innerText?.trim() || e.labels?.[0]?.innerText || e.placeholder || '';
            return [e.id || e.className, name.trim(), e === document.body || e.matches(':focus-visible')];
          })()"""))
    check(all(name or not place for place, name, _ in names), f"all have names: {names}")
    check(all(visible for *_, visible in names), "the focus is seen")
    places = [place for place, *_ in names]
    for place in ("new-chat", "search", "theme", "open-settings", "input", "attach", "model", "effort", "send"):
        check(place in places, f"{place} is reached by Tab: {places}")
    return page


@test
def fits_a_phone(run):
    page = run.page(width=360, height=740, touch=True)
    page.eval("document.getElementById('input').focus()")
    page.type("think on the way")
    page.key("Enter")
    check(page.eval("document.querySelectorAll('.message').length") == 0, "Enter is a new line there")
    page.click("#send")
    page.wait(f"document.querySelector('.message.assistant') && {IDLE}")
    page.screenshot(run.out / "phone.png")
    width = page.eval("[document.documentElement.scrollWidth, document.getElementById('scroller').scrollWidth - document.getElementById('scroller').clientWidth]")
    check(width == [360, 0], f"nothing is wider than the screen: {width}")
    check(page.eval("document.getElementById('sidebar').inert"), "the closed list is out of reach")
    page.click("#open-sidebar")
    page.wait("document.getElementById('sidebar').getBoundingClientRect().x === 0")
    page.screenshot(run.out / "phone-list.png")
    page.click("#close-sidebar")
    page.wait("document.getElementById('sidebar').inert")
    page.click("#open-settings")
    page.screenshot(run.out / "phone-settings.png")
    box = page.eval("(r => [r.left >= 0, r.right <= 360])(document.getElementById('settings').getBoundingClientRect())")
    check(box == [True, True], "settings fit")
    return page


@test
def stays_fast_on_long_replies(run):
    page = run.page()
    start = time.monotonic()
    say(page, "long text")
    seconds = time.monotonic() - start
    check(page.eval(f"{LAST}.querySelectorAll('p strong').length") == 2400, "all of it")
    check(seconds < 30, f"{seconds:.1f} s")
    marks = page.eval("""import('./markdown.js').then((m) => {
        const start = performance.now();
        for (const text of ['*a '.repeat(30000), '[x]('.repeat(30000), '`a``'.repeat(20000), '> '.repeat(20000) + 'x',
                            '- '.repeat(20000), '|'.repeat(50000) + '\\n' + '-|'.repeat(5000), '**a **b'.repeat(15000),
                            '_'.repeat(100000), 'https://'.repeat(10000), ' '.repeat(100000) + 'x', '#'.repeat(50000)]) {
          m.renderMarkdown(document.createElement('div'), text);
        }
        return performance.now() - start;
      })""")
    check(marks < 20000, f"hostile lengths take {marks:.0f} ms")
    return page


@test
def parses_events_however_they_are_cut(run):
    page = run.page()
    wrong = page.eval("""import('./api.js').then(({EventParser}) => {
        const text = ': hello\\r\\ndata: {"a": 1}\\r\\n\\r\\nevent: x\\ndata: one\\ndata: two\\n\\ndata:three\\r\\rdata\\n\\n\\ndata: lost';
        const expected = JSON.stringify(['{"a": 1}', 'one\\ntwo', 'three', '']);
        const wrong = [];
        for (let i = 0; i <= text.length; ++i) {
          for (let j = i; j <= text.length; ++j) {
            const parser = new EventParser();
            const events = [text.slice(0, i), text.slice(i, j), text.slice(j)].flatMap((t) => parser.take(t));
            if (JSON.stringify(events) !== expected) wrong.push([i, j, events]);
          }
        }
        return wrong.slice(0, 3);
      })""")
    check(wrong == [], f"{wrong}")
    return page


def try_real_server(browser, program, model, out):
    """The page as the program serves it, with its bundled model."""
    with tempfile.TemporaryDirectory() as work:
        port_file = pathlib.Path(work) / "port"
        process = subprocess.Popen([program, "serve", "-m", model, "--port", "0", "--port-file", port_file])
        try:
            end = time.monotonic() + 60
            while not (port_file.exists() and port_file.read_text().strip()):
                if process.poll() is not None or time.monotonic() > end:
                    raise Failure("dsv4 serve does not start")
                time.sleep(0.05)
            page = Page(browser)
            page.go(f"http://127.0.0.1:{port_file.read_text().strip()}/")
            page.wait("document.getElementById('model').value")
            say(page, "What is 12 + 7?")
            page.screenshot(out / "server.png")
            check(page.eval(f"{LAST}.querySelector('.text').innerText.trim() !== ''"), "an answer")
            check("tokens/s" in page.eval(f"{LAST}.querySelector('.stats').innerText"), "its numbers")
            say(page, "And 3 + 4?")
            check(page.problems() == [], f"{page.problems()}")
        finally:
            process.terminate()
            process.wait(20)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page_dir")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--dsv4")
    parser.add_argument("--model")
    parser.add_argument("--only", default="", help="tests whose name has this in it")
    args = parser.parse_args()
    server = Server(args.page_dir)
    browser = Browser()
    n_failed = 0
    try:
        run = Run(browser, server, args.out)
        tests = [(t.__name__, lambda t=t: t(run)) for t in TESTS if args.only in t.__name__]
        if args.dsv4:
            tests.append(("works_with_the_real_server", lambda: try_real_server(browser, args.dsv4, args.model, args.out)))
        for name, body in tests:
            start = time.monotonic()
            try:
                server.key = None
                page = body()
                if page:
                    problems = page.problems()
                    check(problems == [], f"the console says {problems}")
                    page.close()
                print(f"ok      {name} ({time.monotonic() - start:.1f} s)", flush=True)
            except Exception as error:
                n_failed += 1
                print(f"FAILED  {name}: {error}", flush=True)
                if not isinstance(error, Failure):
                    traceback.print_exc()
    finally:
        browser.close()
        server.shutdown()
    print(f"{n_failed} failed" if n_failed else f"all passed; screenshots in {args.out}")
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
