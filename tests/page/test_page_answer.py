# SPDX-License-Identifier: LGPL-2.1-or-later
"""Answering from the page, in a real browser: over TLS, and at a Unix socket through a tunnel."""

import contextlib
import http.server
import json
import socket
import threading

from selenium.webdriver.common.keys import Keys
from simhost import Host, domain
from test_access import SECRET, make_certificate, write
from test_answer import Local
from test_approval import asked, audit, pending, rules
from test_page import CARD, FAULTS, overflow, wait_for_card

CLICK = f"const card = {CARD}; const b = card.querySelector('.question ' + arguments[1]); b.scrollIntoView({{block: 'center'}}); b.click();"
READY = "!card.querySelector('.question').hidden && !card.querySelector('.by-hand').hidden"


@contextlib.contextmanager
def tunnel(path):
    """As ssh -L brings a Unix socket to a port here: that port."""
    def copy(a, b):
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                b.sendall(data)
        for end in (a, b):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                here, _ = listener.accept()
                there = socket.socket(socket.AF_UNIX)
                there.connect(str(path))
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=copy, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def test_a_named_user_answers_over_tls_in_two_steps(browser, tmp_path):
    make_certificate(tmp_path, "own")
    write(tmp_path, "own", {"operator": SECRET, "reader": SECRET})
    config = {"web_config": f"{tmp_path}/web.yml", "web_may_answer": ["operator"]}
    with Host([domain("vm"), domain("other", start="2s")], rules(), config=config) as host:
        host.wait(lambda: len(pending(host)) == 2)
        at = f"127.0.0.1:{host.port}/"
        browser.go(f"https://reader:secret@{at}")
        wait_for_card(browser, "vm", "!card.querySelector('.question').hidden")
        assert "migpolicy approve" in browser.js(f"return {CARD}.querySelector('.question').innerText", "vm")
        assert not browser.js(f"return {CARD}.querySelector('.yes').getClientRects().length", "vm")

        browser.go("about:blank")
        browser.go(f"https://operator:secret@{at}")
        wait_for_card(browser, "vm", READY)
        assert "You may answer questions, as web user operator" in browser.text("footer")
        for width in (1200, 390):
            browser.resize(width, 844)
            assert not overflow(browser) and not browser.js(FAULTS), width
        browser.resize(1200, 900)
        browser.js(CLICK, "vm", ".yes")
        assert not host.events("cpu_share") and len(pending(host)) == 2, "one step is none"
        assert browser.js("return document.activeElement.textContent") == "Yes, slow the guest down"
        browser.js(CLICK, "vm", ".back")
        assert browser.js("return document.activeElement.className") == "yes"
        browser.js(CLICK, "vm", ".yes")
        browser.js(CLICK, "vm", ".send")
        browser.js(CLICK, "other", ".no")
        browser.js(CLICK, "other", ".send")
        wait_for_card(browser, "other", "card.querySelector('.question').hidden")
        wait_for_card(browser, "vm", "card.querySelector('.events').textContent.includes('allowed by web user operator')")
        host.wait(host.completed)
        assert host.completed() == {"vm"} and not host.events("cpu_share", "other")
        assert audit(host, result="approved")["approved_by"] == "web user operator"
        assert "denied by web user operator" in audit(host, result="denied")["detail"]


def test_who_is_tunnelled_to_the_unix_socket_answers_with_the_keyboard_up_to_a_ceiling(browser):
    with Local([domain("vm")], rules()) as host, tunnel(host.path) as port:
        number = asked(host)["id"]
        browser.go(f"http://127.0.0.1:{port}/")
        wait_for_card(browser, "vm", READY)
        keys = browser.driver.switch_to
        browser.js(f"{CARD}.querySelector('.ceiling input').focus()", "vm")
        keys.active_element.send_keys("1ms")
        browser.js(CLICK, "vm", ".yes")
        assert browser.js("return document.activeElement.textContent") == "Yes, slow the guest down, losing 1ms at most"
        keys.active_element.send_keys(Keys.ENTER)
        wait_for_card(browser, "vm", "card.querySelector('.said').textContent.startsWith('It would lose more than that')")
        assert asked(host)["id"] == number
        browser.js(f"{CARD}.querySelector('.ceiling input').value = '1h'", "vm")
        browser.js(CLICK, "vm", ".yes")
        keys.active_element.send_keys(Keys.ENTER)
        host.wait(lambda: host.events("cpu_share"))
        shown = json.loads(host.command("show", "vm", "--json"))["fields"]
        assert next(f["value"] for f in shown if f["name"] == "max_work_lost") == "1h"
        # What was refused is an error to the browser, too.
        assert all("409" in line for line in browser.console())


def test_a_yes_to_what_is_asked_no_more_is_not_sent(browser):
    with Local([domain("vm", post_copy=True)], rules(allow_post_copy="ask")) as host, tunnel(host.path) as port:
        first = asked(host)
        browser.go(f"http://127.0.0.1:{port}/")
        wait_for_card(browser, "vm", READY)
        browser.js(CLICK, "vm", ".yes")
        host.command("deny", str(first["id"]))
        wait_for_card(browser, "vm", "card.querySelector('.asks').textContent.includes('post-copy')")
        wait_for_card(browser, "vm", "card.querySelector('.sure').hidden && !card.querySelector('.choices').hidden")
        host.wait(lambda: pending(host))
        assert asked(host)["id"] != first["id"] and not host.events("cpu_share")


ATTACK = """<!doctype html><script>
const send = (more) => fetch("http://127.0.0.1:PORT/api/v1/answer", {method: "POST", credentials: "include", body: BODY, ...more});
Promise.allSettled([
  send({mode: "no-cors"}),
  send({mode: "no-cors", body: new Blob([BODY], {type: "application/json"})}),
  send({headers: {"Content-Type": "application/json"}}),
]).then(() => navigator.sendBeacon("http://127.0.0.1:PORT/api/v1/answer", new Blob([BODY], {type: "application/json"})))
  .then(() => { document.title = "done"; });
</script>"""


def test_another_page_in_the_same_browser_cannot_answer(browser):
    class Evil(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_):
            pass

    with Local([domain("vm")], rules()) as host, tunnel(host.path) as port:
        number = asked(host)["id"]
        body = json.dumps(json.dumps({"id": number, "answer": "approve"}))
        page = ATTACK.replace("PORT", str(port)).replace("BODY", body)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Evil) as evil:
            threading.Thread(target=evil.serve_forever, daemon=True).start()
            browser.go(f"http://127.0.0.1:{evil.server_port}/")
            browser.wait("return document.title === 'done'")
            evil.shutdown()
        # An answer that is known to come after: then those have been refused.
        assert host.answer({"id": number, "answer": "deny"})[0] == 200
        assert not host.events("cpu_share")
        audit(host, result="denied", reason="denied")
        results = [json.loads(line)["result"] for line in (host.state_dir / "audit.jsonl").read_text().splitlines()]
        assert "approved" not in results
        browser.go("about:blank")
        assert browser.console(), "what was refused is an error there"
