# SPDX-License-Identifier: LGPL-2.1-or-later
"""The page in a real browser, before a daemon on a simulated host: needs neither root nor libvirtd."""

import json
import urllib.request

import pytest
from simhost import Host, calm, domain
from test_leftovers import RULES, failing

ASK = [{"name": "*", "policy": {"allow_throttle": "ask", "min_cpu": "10%"}}]
CARD = "[...document.querySelectorAll('.card')].find((c) => c.querySelector('.name').textContent === arguments[0])"

# What axe and others look for, as far as this page could get it wrong: a list of what is.
FAULTS = """
const wrong = [];
const say = (what, node) => wrong.push(what + ": " + node.outerHTML.slice(0, 160));
const shown = (node) => node.getClientRects().length > 0 && getComputedStyle(node).visibility === "visible";
const ids = [...document.querySelectorAll("[id]")].map((n) => n.id);
ids.filter((id, i) => ids.indexOf(id) !== i).forEach((id) => wrong.push("twice: #" + id));
if (!document.documentElement.lang) wrong.push("no language");
if (!document.title) wrong.push("no title");
for (const name of ["main", "body > header", "footer", "h1"])
  if (document.querySelectorAll(name).length !== 1) wrong.push("not one " + name);
let level = 0;
for (const h of document.querySelectorAll("h1, h2, h3, h4")) {
  if (+h.tagName[1] > level + 1) say("heading skips a level", h);
  level = +h.tagName[1];
}
for (const n of document.querySelectorAll("svg[role=img]"))
  if (shown(n) && !n.getAttribute("aria-label")) say("an image without a name", n);
for (const n of document.querySelectorAll("a, button, summary"))
  if (shown(n) && !n.textContent.trim()) say("nothing to call it by", n);
for (const n of document.querySelectorAll("[aria-labelledby]"))
  if (!document.getElementById(n.getAttribute("aria-labelledby"))) say("labelled by nothing", n);
for (const n of document.querySelectorAll("table"))
  if (![...n.querySelectorAll("thead th")].every((th) => th.getAttribute("scope") === "col")) say("no scope", n);
for (const n of document.querySelectorAll("table, tr, td, th, tbody, thead"))
  if (!n.getAttribute("role")) say("a table that is displayed as a block loses its role", n);
for (const n of document.querySelectorAll("[tabindex]"))
  if (n.tabIndex > 0) say("order of focus", n);
for (const n of document.querySelectorAll("button, summary, footer a")) {
  const box = n.getBoundingClientRect();
  if (shown(n) && n.matches("button, summary") && innerWidth < 500 && box.height < 24) say("too small to touch", n);
}

function channels(text) {
  const c = text.match(/[\\d.]+/g).map(Number);
  return [c[0], c[1], c[2], c.length > 3 ? c[3] : 1];
}
function background(node) {
  const layers = [];
  for (let n = node; n; n = n.parentElement) {
    const c = channels(getComputedStyle(n).backgroundColor);
    layers.push(c);
    if (c[3] === 1) break;
  }
  return layers.reverse().reduce((under, c) => under.map((u, i) => u * (1 - c[3]) + c[i] * c[3]), [255, 255, 255]);
}
function luminance(c) {
  const [r, g, b] = c.slice(0, 3).map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
let texts = 0;
for (const n of document.querySelectorAll("body *")) {
  const own = [...n.childNodes].some((c) => c.nodeType === 3 && c.data.trim());
  if (!own || !shown(n) || n.closest(".hidden, .skip, title, script, style")) continue;
  const style = getComputedStyle(n);
  const circle = n.closest(".mark")?.querySelector("circle");
  const fore = channels(n instanceof SVGElement ? style.fill : style.color);
  const back = circle ? channels(getComputedStyle(circle).fill) : background(n instanceof SVGElement ? n.closest("figure") : n);
  const [a, b] = [luminance(fore), luminance(back)].sort((x, y) => y - x);
  texts++;
  if ((a + 0.05) / (b + 0.05) < 4.5) say("contrast " + ((a + 0.05) / (b + 0.05)).toFixed(2), n);
}
if (texts < 20) wrong.push("hardly any text was looked at: " + texts);
return [...new Set(wrong)];
"""


def get(host, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{host.port}{path}", timeout=60) as reply:
        return json.load(reply)


def wait_for_card(browser, name, condition="true"):
    return browser.wait(f"const card = {CARD}; return card && ({condition})", name)


def told(host, uuid):
    """What the API says, as the page would show it."""
    all = get(host, f"/api/v1/migrations/{uuid}")
    stated = [[f["name"], f["value"], f["source"]] for f in all["policy"] if f["source"] != "default"]
    return {
        "alternatives": [[a["kind"] + (" (chosen)" if a["chosen"] else ""),
                          "yes" if a["approved"] else "ask" if a["ask"] else "no"] for a in all["alternatives"]],
        "policy": stated + [[f["name"], f["value"]] for f in all["policy"] if f["source"] == "default"],
        "events": [f"{e['action']} {e['result']}: {e['detail']}" for e in all["events"]],
        "marks": len(all["events"]),
    }


def drawn(browser, name):
    return browser.js(f"""const card = {CARD};
        const rows = (name, n) => [...card.querySelectorAll(name + " tbody tr")].map((tr) => [...tr.children].slice(0, n).map((td) => td.textContent));
        return {{alternatives: rows(".alternatives", 2), policy: rows(".policy", 3),
                 events: [...card.querySelectorAll(".events .what")].map((n) => n.firstChild.data.trim()),
                 marks: card.querySelectorAll(".mark").length}}""", name)


def open_details(browser):
    browser.js("document.querySelectorAll('details').forEach((d) => d.open = true)")


def overflow(browser):
    return browser.js("""
        const wide = [...document.querySelectorAll("body *")].filter((n) => !n.closest("svg, .hidden, .skip, .scroll") &&
            n.getClientRects().length && n.getBoundingClientRect().right > innerWidth + 1);
        return document.documentElement.scrollWidth > innerWidth ? ["the page"] : wide.map((n) => n.outerHTML.slice(0, 200));""")


def test_the_page_tells_what_the_api_tells(browser):
    with Host([domain("busy"), calm("calm")], ASK) as host:
        browser.open(host)
        wait_for_card(browser, "busy", "!card.querySelector('.question').hidden")
        open_details(browser)
        status = get(host, "/api/v1/status")
        assert status["host"]["pending_questions"] == 1 and status["host"]["libvirt_connected"]
        m = next(m for m in status["migrations"] if m["vm"] == "busy")
        card = browser.js(f"""const card = {CARD};
            return {{badges: [...card.querySelectorAll(".badges li")].map((li) => li.textContent),
                     sentence: card.querySelector(".sentence").textContent, question: card.querySelector(".question").innerText,
                     label: card.querySelector(".sawtooth").getAttribute("aria-label")}}""", "busy")
        assert card["badges"] == ["needs-help", "asks"]
        assert card["sentence"].startswith("Does not end as things are: the guest dirties ")
        assert card["sentence"].endswith(m["reason_text"][1:] + ".")
        assert m["proposal"]["detail"][1:12] in card["question"]
        assert f"migpolicy approve {m['proposal']['id']}" in card["question"]
        host.wait(lambda: drawn(browser, "busy") == told(host, m["uuid"]))
        assert [kind for kind, _ in drawn(browser, "busy")["alternatives"]] == \
            ["wait", "bandwidth", "compression-cache", "downtime", "throttle", "downtime+throttle", "post-copy", "suspend"]
        assert "proposed" in drawn(browser, "busy")["events"][0]
        assert "it switches over below" in card["label"]
        # Nobody is known here.
        assert browser.js("return [...document.querySelectorAll('.question button, .question input')].every((n) => !n.getClientRects().length)")
        assert "This page only shows" in browser.text("footer")
        host.command("approve", str(m["proposal"]["id"]))
        wait_for_card(browser, "busy", "card.querySelector('.badges').textContent.startsWith('completed')")
        browser.wait("return [...document.querySelectorAll('#history tbody tr')].length === 2")
        rows = browser.js("return [...document.querySelectorAll('#history tbody tr')].map((tr) => [tr.children[0].textContent, tr.children[1].textContent])")
        assert rows == [[m["vm"], m["result"]] for m in get(host, "/api/v1/history")["migrations"]]


def test_what_comes_leaves_scroll_and_focus_and_what_is_open(browser):
    vms = [domain(f"vm{i}") for i in range(4)]
    late = domain("aaa", start="25s")
    with Host([*vms, late], [{"name": "aaa", "policy": {"allow_throttle": "ask"}}], time_factor=5) as host:
        browser.open(host)
        wait_for_card(browser, "vm3", "card.querySelectorAll('.sawtooth path.remaining').length")
        before = browser.js(f"""const card = {CARD}; card.querySelector(".identity").open = true;
            const summary = card.querySelector(".identity summary"); summary.scrollIntoView({{block: "center"}}); summary.focus();
            return [summary.getBoundingClientRect().top, scrollY, card.querySelector(".facts").textContent]""", "vm3")
        assert before[1] > 0
        browser.wait("return document.querySelector('.card .name').textContent === 'aaa'")
        wait_for_card(browser, "aaa", "!card.querySelector('.question').hidden")
        after = browser.js(f"""const card = {CARD}; const summary = card.querySelector(".identity summary");
            return [summary.getBoundingClientRect().top, document.activeElement === summary, card.querySelector(".identity").open,
                    card.querySelector(".facts").textContent]""", "vm3")
        assert after[1] and after[2]
        assert abs(after[0] - before[0]) < 3, (before, after)
        assert after[3] != before[2], "its figures were to go on"


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_and_is_readable_in_both_colours(browser, dark):
    name = "a-name-without-any-place-to-break-it-" + "x" * 120
    with Host([domain(name), calm("calm"), domain("held")], [{"name": "a*", "policy": {"allow_throttle": "ask"}}]) as host:
        browser.colours(dark)
        browser.open(host)
        wait_for_card(browser, name, "!card.querySelector('.question').hidden")
        host.command("pause", "held")
        browser.wait("return document.querySelector('#history tbody tr')")
        wait_for_card(browser, "held", "card.querySelector('.badges').textContent.includes('paused')")
        open_details(browser)
        for width in (1200, 768, 390, 320):
            browser.resize(width, 844)
            browser.wait("return document.querySelector('.sawtooth').viewBox.baseVal.width <= innerWidth")
            assert not overflow(browser), width
            assert not browser.js(FAULTS), width


def test_hostile_names_are_text(browser):
    names = ["<img src=x onerror=\"window.hit=1\">", "\"><script>window.hit=1</script>", "evil\u202e\u009b31m</bdi>&amp;"]
    with Host([calm(name) for name in names] + [domain(names[0] + "2")], ASK) as host:
        browser.open(host)
        wait_for_card(browser, names[0] + "2", "!card.querySelector('.question').hidden")
        browser.wait("return document.querySelectorAll('#history tbody tr').length === 3")
        shown = browser.js("return [...document.querySelectorAll('#history tbody tr')].map((tr) => tr.children[0].textContent)")
        assert sorted(shown) == sorted(names)
        assert browser.js("return [window.hit, document.querySelectorAll('img').length, document.querySelectorAll('script').length]") == [None, 0, 1]
        assert {m["vm"] for m in get(host, "/api/v1/history")["migrations"]} == set(names)
        # And if something did get in, it would not run, nor be loaded.
        browser.js("""const s = document.createElement("script"); s.textContent = "window.hit = 1"; document.body.append(s);
            const i = document.createElement("img"); i.src = "/metrics"; document.body.append(i);""")
        assert browser.js("return window.hit") is None
        blocked = browser.console()
        assert len(blocked) == 2 and all("Content Security Policy" in line for line in blocked)


def test_the_state_of_the_host_is_on_top(browser):
    def tiles():
        return browser.text("#host")

    with Host([domain("vm")], [], time_factor=10, disconnect_after="70s") as host:
        browser.open(host)
        browser.wait("return document.querySelector('#host').innerText.includes('libvirt connected')")
        host.command("pause")
        browser.wait("return document.querySelector('#host').innerText.includes('Host paused by uid')")
        assert "libvirt connected" in tiles()
        host.command("resume")
        browser.wait("return document.querySelector('#host').innerText.includes('is not reached')")
        assert "Host paused" not in tiles()
        assert browser.text("#freshness") == "live"
        host.stop()
        browser.wait("return document.querySelector('#freshness').innerText.includes('does not answer')")
        assert all("ERR_CONNECTION_REFUSED" in line for line in browser.console())


def test_a_guest_that_may_still_be_slowed_is_on_top_with_what_to_do(browser):
    shown = "return document.querySelector('#leftovers').innerText"
    hostile = "<b>x</b>; reboot"
    with Host([failing(30), failing(30, name=hostile)], RULES) as host:
        browser.open(host)
        wait_for_card(browser, "vm")
        assert not browser.js(shown)
        for name in ("vm", hostile):
            host.wait(lambda: [e for e in host.events("cpu_share", name) if e["value"] < 1])
            host.command("set", name, "--runtime", "--allow-cancel", "--deadline=1s", "--on-deadline=cancel")
        browser.wait("return document.querySelectorAll('#leftovers li').length === 2")
        assert "2 guests may still be slowed" in browser.text("#host") and "nothing" not in browser.text("#host")
        assert browser.js("return document.title").startswith("(2) ")
        assert not browser.js("return document.querySelector('#leftovers b')")
        uuids = {name: uuid for uuid, name in host.names.items()}
        commands = browser.js("return [...document.querySelectorAll('#leftovers code')].map((c) => c.textContent)")
        assert sorted(commands) == ["migpolicy release uuid:" + uuids[hostile], "migpolicy release vm"]
        why = {l["vm"]: l["why"] for l in get(host, "/api/v1/status")["leftovers"]}
        assert "vm may still be slowed, for " in browser.js(shown) and why["vm"] in browser.js(shown)
        for width in (1200, 390):
            browser.resize(width, 844)
            assert not overflow(browser) and not browser.js(FAULTS), width
        for command in commands:
            host.wait(lambda: host.tried(*command.split()[1:]).returncode != 1)
        browser.wait("return document.querySelector('#leftovers').hidden")
        assert "may still be slowed" not in browser.text("#host")


def test_it_can_be_used_with_the_keyboard_alone(browser):
    from selenium.webdriver.common.keys import Keys

    with Host([domain("vm")], []) as host:
        browser.open(host)
        wait_for_card(browser, "vm", "card.querySelector('.policy tbody tr') || card.querySelector('.defaults tbody tr')")
        at = "const a = document.activeElement; return [a.tagName, a.innerText, getComputedStyle(a).outlineStyle]"
        seen = []
        for _ in range(12):
            browser.driver.switch_to.active_element.send_keys(Keys.TAB)
            seen.append(browser.js(at))
            if seen[-1][1].startswith("Policy"):
                break
        assert seen[0][1].startswith("Skip") and seen[-1][0] == "SUMMARY", seen
        assert seen[-1][2] != "none", "the focus was to be seen"
        browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
        assert browser.js("return document.querySelector('details.policy').open")
