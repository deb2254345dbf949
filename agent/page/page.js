// SPDX-License-Identifier: LGPL-2.1-or-later
// Draws what /api/v1/ tells. Every text gets in as text, never as markup. What is on the page already is
// changed in place, so that scroll, focus and what somebody has opened stay as they are.
"use strict";

const POLL_MS = 1000;
const HISTORY_MS = 5000;
const LOST_MS = 8000; // without an answer the page says that it is old
const KEEP_ENDED_S = 45; // how long a card stays after its migration
const POINTS_MAX = 1500; // of a course, in the page
const HISTORY_SHOWN = 12;
const API = location.origin + "/api/v1/"; // without the name and the password that may be in the address
const SVG = "http://www.w3.org/2000/svg";

const $ = (id) => document.getElementById(id);

// ---- quantities, written as migpolicy writes them

function bytes(value) {
  if (value == null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  for (; value >= 1024 && i < 4; i++) value /= 1024;
  return value.toFixed(i > 0 && value < 9.95 ? 1 : 0) + " " + units[i];
}
const rate = (value) => (value == null ? "–" : bytes(value) + "/s");
const percent = (ratio) => (ratio == null ? "–" : Number((ratio * 100).toPrecision(3)) + "%");

function seconds(value) {
  if (value == null) return "–";
  if (value < 119.5) return value.toFixed(value === 0 || value >= 99.95 ? 0 : value < 0.995 ? 2 : 1) + " s";
  const s = Math.round(value);
  const two = (n) => String(n).padStart(2, "0");
  if (s < 7200) return Math.floor(s / 60) + "m" + two(s % 60) + "s";
  return Math.floor(s / 3600) + "h" + two(Math.floor((s % 3600) / 60)) + "m";
}

function quantity(name, value) {
  if (value == null) return "–";
  if (name.endsWith("_bytes_per_second")) return rate(value);
  if (name.endsWith("_bytes")) return bytes(value);
  if (name.endsWith("_seconds")) return seconds(value);
  if (name.endsWith("_ratio")) return percent(value);
  return String(Number(value.toPrecision(4)));
}

const whole = (s) => seconds(Math.round(s)).replace(/\.0 s$/, " s");
const ago = (s) => (s < 1 ? "just now" : whole(s) + " ago");

// ---- elements

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
function setAttr(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}
function el(name, className, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text != null) node.textContent = text;
  return node;
}
function svg(name, attributes, parent, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text != null) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

// Makes the children of `parent` those that `rows` tell, in place: make() gives a new child, fill() its
// content. What is there already stays the same element.
function fit(parent, rows, make, fill) {
  while (parent.children.length > rows.length) parent.lastElementChild.remove();
  rows.forEach((row, i) => {
    if (!parent.children[i]) parent.append(make());
    fill(parent.children[i], row);
  });
}

// [[class, text], …] as list items.
function fitWords(list, words) {
  fit(list, words, () => el("li"), (li, [name, text]) => {
    if (li.className !== name) li.className = name;
    set(li, text);
  });
}

function fitFacts(dl, facts) {
  fit(dl, facts, () => {
    const div = el("div");
    div.append(el("dt"), el("dd"));
    div.lastChild.append(el("span"), el("small"));
    return div;
  }, (div, [name, value, more]) => {
    set(div.firstChild, name);
    set(div.lastChild.firstChild, value);
    set(div.lastChild.lastChild, more || "");
  });
}

// Rows of cells: [text, class]; labels are for narrow screens, where a row is a list.
function fitRows(body, labels, rows) {
  fit(body, rows, () => {
    const tr = el("tr");
    tr.setAttribute("role", "row");
    for (const label of labels) {
      const td = el("td");
      td.setAttribute("role", "cell");
      if (label) td.dataset.label = label;
      td.append(el("span"));
      tr.append(td);
    }
    return tr;
  }, (tr, row) => {
    const name = row.name || "";
    if (tr.className !== name) tr.className = name;
    row.cells.forEach(([text, className = ""], i) => {
      const td = tr.children[i];
      const name = text === "–" ? className + " nothing" : className;
      if (td.className !== name) td.className = name;
      set(td.firstChild, text);
    });
  });
}

// ---- what a migration is like, in words

const URGENCY = { stalled: 0, hopeless: 1, "needs-help": 1, plateau: 3, switchover: 4, helped: 4, "post-copy": 5,
  starting: 6, converging: 7, done: 9 };

// Whoever needs somebody comes first; then what is being done something about; what ends by itself last.
function urgency(m) {
  if (!m.active) return 9;
  if (m.proposal) return 0;
  const rank = URGENCY[m.verdict] ?? 5;
  return m.cpu_limit_ratio < 0.9995 ? Math.min(rank, 3) : rank;
}

function tone(m) {
  if (!m.active) return m.result === "completed" ? "good" : m.result === "cancelled" ? "warn" : "bad";
  if (m.verdict === "stalled" || m.verdict === "hopeless") return "bad";
  if (m.proposal || m.verdict === "needs-help") return "warn";
  if (m.verdict === "converging" || m.verdict === "switchover") return "good";
  if (m.verdict === "plateau") return "warn";
  return "info";
}

function badges(m) {
  const words = [[tone(m), m.active ? m.verdict : m.result]];
  if (!m.active) return words;
  if (m.proposal) words.push(["warn", "asks"]);
  if (m.cpu_limit_ratio < 0.9995) words.push(["warn", "CPU " + percent(m.cpu_limit_ratio)]);
  if (m.paused) words.push(["warn", m.paused]);
  if (m.mode === "observe" && !m.paused) words.push(["", "observe only"]);
  return words;
}

function capital(text) {
  return text ? text[0].toUpperCase() + text.slice(1) : "";
}

function forecast(m) {
  const limit = seconds(m.downtime_limit_seconds);
  const rates = m.dirty_rate_bytes_per_second != null && m.transfer_rate_bytes_per_second != null
    ? `the guest dirties ${rate(m.dirty_rate_bytes_per_second)} and ${rate(m.transfer_rate_bytes_per_second)} are sent` : "";
  if (m.verdict === "switchover" || m.verdict === "post-copy") return "";
  if (m.forecast_ends === false) {
    const plateau = m.forecast_downtime_seconds == null ? ""
      : ` What remains at best would take a downtime of ${seconds(m.forecast_downtime_seconds)}; the limit is ${limit}.`;
    return `Does not end as things are${rates ? ": " + rates : ""}.${plateau}`;
  }
  if (m.forecast_ends === true) {
    const spread = m.forecast_latest_seconds == null
      ? `, in ${seconds(m.forecast_earliest_seconds)} at the earliest`
      : `, between ${seconds(m.forecast_earliest_seconds)} and ${seconds(m.forecast_latest_seconds)}`;
    return `Ends in about ${seconds(m.forecast_remaining_seconds)}${spread}, with a downtime of ${seconds(m.forecast_downtime_seconds)} (limit ${limit}).`;
  }
  if (m.forecast_earliest_seconds != null)
    return `When it ends is not known yet, in ${seconds(m.forecast_earliest_seconds)} at the earliest.`;
  return "Too early to say when it ends.";
}

function sentence(m) {
  if (!m.active) {
    const down = m.downtime_seconds == null ? "" : `, with a downtime of ${seconds(m.downtime_seconds)}`;
    return `${capital(m.result)} after ${seconds(m.elapsed_seconds)} and ${m.iteration} passes${down}; ${seconds(m.work_lost_seconds)} of guest work lost.`;
  }
  return [forecast(m), capital(m.reason_text) + "."].filter(Boolean).join(" ");
}

function facts(m) {
  const rows = [];
  if (m.active)
    rows.push(["Ends in", m.forecast_ends === true ? seconds(m.forecast_remaining_seconds) : m.forecast_ends === false ? "does not" : "not known",
      m.forecast_ends === true ? `${seconds(m.forecast_earliest_seconds)} to ${m.forecast_latest_seconds == null ? "?" : seconds(m.forecast_latest_seconds)}` : ""]);
  rows.push(m.active
    ? ["Forecast downtime", seconds(m.forecast_downtime_seconds), "limit " + seconds(m.downtime_limit_seconds)]
    : ["Downtime", seconds(m.downtime_seconds)]);
  if (m.active) rows.push(["Remaining", bytes(m.memory_remaining_bytes), "of " + bytes(m.memory_total_bytes)]);
  if (m.active && m.disk_remaining_bytes > 0) rows.push(["Disks", bytes(m.disk_remaining_bytes)]);
  rows.push(["Pass", String(m.iteration), seconds(m.elapsed_seconds) + (m.active ? " so far" : "")]);
  rows.push(["Sent", bytes(m.memory_processed_bytes)]);
  rows.push(["Guest work lost", seconds(m.work_lost_seconds), m.throttled_seconds > 0 ? `throttled ${seconds(m.throttled_seconds)}` : ""]);
  return rows;
}

// ---- cards

const cards = new Map();
const visible = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const card = cards.get(entry.target.dataset.uuid);
    if (card) card.visible = entry.isIntersecting;
  }
}, { rootMargin: "300px" });
const resized = new ResizeObserver((entries) => {
  for (const entry of entries) {
    const card = cards.get(entry.target.dataset.uuid);
    if (card && card.width !== entry.contentRect.width) { card.width = entry.contentRect.width; draw(card); }
  }
});

function newCard(uuid) {
  const node = $("card").content.firstElementChild.cloneNode(true);
  const find = (selector) => node.querySelector(selector);
  const card = {
    node, uuid, visible: true, course: null, events: [], frames: {}, pointed: null,
    sawtooth: find(".sawtooth"), rates: find(".rates"), cut: find(".cut"), remainingNow: find(".remaining-now"), ratesNow: find(".rates-now"),
  };
  node.dataset.uuid = uuid;
  const title = "vm-" + uuid;
  find("h3").id = title;
  node.setAttribute("aria-labelledby", title);
  prepareAnswer(card);
  follow(card, card.sawtooth, "sawtooth");
  follow(card, card.rates, "rates");
  cards.set(uuid, card);
  visible.observe(node);
  resized.observe(node);
  return card;
}

function drop(card) {
  visible.unobserve(card.node);
  resized.unobserve(card.node);
  card.node.remove();
  cards.delete(card.uuid);
}

function showMigration(card, m) {
  const find = (selector) => card.node.querySelector(selector);
  card.migration = m;
  const name = "card is-" + tone(m);
  if (card.node.className !== name) card.node.className = name;
  set(find(".name"), m.vm);
  fitWords(find(".badges"), badges(m));
  set(find(".sentence"), sentence(m));
  const next = m.active && m.next_action && m.next_action !== m.reason && !m.proposal ? "Action: " + m.next_action.replace(` (${m.reason})`, "") : "";
  set(find(".next"), next);
  find(".next").hidden = !next;
  showQuestion(card, m.proposal);
  fitFacts(find("dl.facts"), facts(m));
}

function showEvents(card, events) {
  card.events = events;
  const list = card.node.querySelector(".events");
  fit(list, events, () => {
    const li = el("li");
    const what = el("div", "what");
    what.append(document.createTextNode(""), el("span"));
    li.append(el("span", "number"), el("span", "when"), what);
    return li;
  }, (li, e) => {
    const i = events.indexOf(e);
    if (li.className !== e.result) li.className = e.result;
    set(li.children[0], String(i + 1));
    set(li.children[1], seconds(e.elapsed_seconds));
    const text = `${e.action} ${e.result}: ${e.detail} `;
    if (li.children[2].firstChild.data !== text) li.children[2].firstChild.data = text;
    set(li.children[2].lastChild, `because ${e.reason_text}${e.approved_by ? `; allowed by ${e.approved_by}` : ""}`);
  });
}

function because(a) {
  if (a.works && a.ask) return "to be asked about; " + a.reason_text;
  if (a.works && !a.approved) return "not allowed; " + a.reason_text;
  if (a.works && !a.chosen) return "not needed beside what is chosen; " + a.reason_text;
  return a.reason_text;
}

function showAlternatives(card, alternatives) {
  const details = card.node.querySelector("details.alternatives");
  details.hidden = !alternatives.length;
  fitRows(details.querySelector("tbody"), ["", "allowed", "ends in", "downtime", "work lost", "limit", "CPU", "because"],
    alternatives.map((a) => ({
      name: a.chosen ? "chosen" : "",
      cells: [[a.kind + (a.chosen ? " (chosen)" : "")], [a.approved ? "yes" : a.ask ? "ask" : "no"],
        [a.seconds == null ? (a.works ? "worth a try" : "does not") : seconds(a.seconds), "n"],
        [seconds(a.downtime_seconds), "n"], [seconds(a.work_lost_seconds), "n"],
        [seconds(a.downtime_limit_seconds), "n"], [a.cpu_limit_ratio < 0.9995 ? percent(a.cpu_limit_ratio) : "–", "n"],
        [because(a)]],
    })));
}

// What somebody has stated comes first.
function showPolicy(card, policy) {
  const details = card.node.querySelector("details.policy");
  details.hidden = !policy;
  if (!policy) return;
  const stated = policy.filter((f) => f.source !== "default");
  const rest = policy.filter((f) => f.source === "default");
  const [body, defaults] = details.querySelectorAll("tbody");
  body.closest(".scroll").hidden = !stated.length;
  fitRows(body, ["", "value", "source"], stated.map((f) => ({ cells: [[f.name], [f.value], [f.source]] })));
  fitRows(defaults, ["", "value"], rest.map((f) => ({ cells: [[f.name], [f.value]] })));
  set(details.querySelector(".defaults summary"), stated.length ? `The other ${rest.length} fields: defaults` : "Nobody has stated anything: defaults");
}

function showIdentity(card, m, evidence) {
  const rows = [["UUID", m.uuid], ["Started", new Date(m.started).toLocaleString()]];
  for (const [name, key] of [["Instance", "instance_name"], ["Flavor", "flavor"], ["Project", "project"]])
    if (m[key]) rows.push([name, m[key]]);
  for (const [name, value] of Object.entries(evidence))
    rows.push([capital(name.replace(/_(bytes_per_second|bytes|seconds|ratio)$/, "").replace(/_/g, " ")), quantity(name, value)]);
  fitFacts(card.node.querySelector(".identity .facts"), rows);
}

function addCourse(card, course) {
  if (!card.course) { card.course = course; return; }
  for (const key of Object.keys(card.course)) {
    card.course[key].push(...course[key]);
    if (card.course[key].length > POINTS_MAX) card.course[key].splice(0, card.course[key].length - POINTS_MAX);
  }
}

async function refreshCard(card) {
  if (card.asking) return;
  card.asking = true;
  try {
    const since = card.course && card.course.elapsed_seconds.length ? `?since=${last(card.course.elapsed_seconds)}` : "";
    const all = await ask(`migrations/${encodeURIComponent(card.uuid)}${since}`);
    if (!all || !cards.has(card.uuid)) return;
    if (card.started && card.started !== all.migration.started && all.migration.elapsed_seconds < (last(card.course?.elapsed_seconds ?? []) ?? 0) - 1) {
      card.course = null; // another migration of that VM
      card.started = null;
      return;
    }
    card.started = all.migration.started;
    card.settled = !all.migration.active;
    addCourse(card, all.course);
    steadily(() => {
      showMigration(card, all.migration);
      showEvents(card, all.events);
      showAlternatives(card, all.migration.active ? all.alternatives : []);
      showPolicy(card, all.policy);
      showIdentity(card, all.migration, all.evidence);
    });
    draw(card);
  } finally {
    card.asking = false;
  }
}

// Makes a change and leaves on the screen, where it was, what has the focus or else is on top of it.
function steadily(change) {
  const focused = document.activeElement !== document.body && !document.activeElement.contains($("migrations")) ? document.activeElement : null;
  const held = scrollY > 0 ? focused ?? [...document.querySelectorAll(".card, #history tr")].find((node) => node.getBoundingClientRect().bottom > 0) : null;
  const before = held?.getBoundingClientRect().top;
  change();
  if (!held?.isConnected) return;
  const moved = held.getBoundingClientRect().top - before;
  if (Math.abs(moved) >= 1) scrollBy(0, moved);
}

// Puts the cards in order, never moving the one that has the focus, which it would lose.
function arrange(list) {
  const box = $("migrations");
  const nodes = list.map((m) => cards.get(m.uuid).node);
  const focused = nodes.find((node) => node.contains(document.activeElement));
  if (nodes.every((node, i) => box.children[i] === node)) return;
  const at = focused ? nodes.indexOf(focused) : -1;
  if (at < 0) {
    box.append(...nodes);
    return;
  }
  for (const node of nodes.slice(0, at)) box.insertBefore(node, focused);
  box.append(...nodes.slice(at + 1));
}

function showMigrations(all) {
  const list = all.filter((m) => m.active || m.ended_seconds_ago < KEEP_ENDED_S);
  list.sort((a, b) => urgency(a) - urgency(b) || (a.vm < b.vm ? -1 : a.vm > b.vm ? 1 : 0) || (a.uuid < b.uuid ? -1 : 1));
  const keep = new Set(list.map((m) => m.uuid));
  for (const card of [...cards.values()])
    if (!keep.has(card.uuid) && !card.node.contains(document.activeElement)) drop(card);
  for (const card of cards.values())
    if (!keep.has(card.uuid)) list.push(card.migration); // somebody is reading it
  for (const m of list) {
    const card = cards.get(m.uuid) ?? newCard(m.uuid);
    if (!card.node.isConnected) $("migrations").append(card.node);
    showMigration(card, m);
  }
  arrange(list);
  const active = all.filter((m) => m.active).length;
  set($("migrations-count"), active ? `(${active})` : "");
  $("none").hidden = list.length > 0;
  return active;
}

// ---- the host

function hostTiles(host, leftovers, active) {
  const tiles = [];
  if (!host.libvirt_connected) tiles.push(["bad", `libvirt (${host.uri}) is not reached: migrations are neither seen nor helped`]);
  if (host.paused_by) tiles.push(["warn", `Host paused by ${host.paused_by}: nothing is done until migpolicy resume`]);
  if (host.pending_questions) tiles.push(["warn", `${host.pending_questions} ${host.pending_questions === 1 ? "question waits" : "questions wait"} for an answer`]);
  if (host.paused_vms) tiles.push(["warn", `${host.paused_vms} ${host.paused_vms === 1 ? "VM is" : "VMs are"} paused`]);
  if (leftovers.length) tiles.push(["bad", `${leftovers.length} ${leftovers.length === 1 ? "guest" : "guests"} may still be slowed`]);
  else if (host.outstanding_journals) tiles.push(["bad", `${host.outstanding_journals} CPU limits have yet to be restored: migpolicy status tells which`]);
  if (host.unreadable_states) tiles.push(["bad", `Stored policies cannot be read (${host.unreadable_states}): observed only`]);
  if (host.libvirt_connected) tiles.push(["good", "libvirt connected"]);
  if (!host.paused_by && !host.pending_questions && !leftovers.length) tiles.push(["", active ? "nothing waits for you" : "nothing to do"]);
  return tiles;
}

// A name as a word of the shell, or the UUID where it is none.
const word = (vm, uuid) => (vm && /^[\w.][\w.-]*$/.test(vm) ? vm : "uuid:" + uuid);

// Guests that are slow although nothing migrates them any more, and what to do.
function showLeftovers(list) {
  $("leftovers").hidden = !list.length;
  fit($("leftovers"), list, () => {
    const li = el("li");
    const what = el("p", "what");
    const how = el("p");
    what.append(el("bdi"), el("span"));
    how.append(el("span"), el("code"));
    li.append(what, how);
    return li;
  }, (li, l) => {
    const [what, how] = li.children;
    set(what.firstChild, l.vm ?? l.uuid);
    set(what.lastChild, ` may still be slowed, for ${whole(l.age_seconds)} now: ${l.why}.`);
    set(how.firstChild, `Tried ${l.failures === 1 ? "once" : l.failures + " times"} to give it its CPU back, again in ${whole(l.next_try_seconds)}; at once by `);
    set(how.lastChild, "migpolicy release " + word(l.vm, l.uuid));
  });
}

// ---- history

let historyAll = false;

function showHistory(list) {
  const body = $("history").tBodies[0];
  const shown = historyAll ? list : list.slice(0, HISTORY_SHOWN);
  set($("history-count"), list.length ? `(${list.length})` : "");
  $("history-scroll").hidden = !list.length;
  $("history-none").hidden = list.length > 0;
  $("history-more").hidden = list.length <= HISTORY_SHOWN;
  set($("history-more"), historyAll ? "Show fewer" : `Show all ${list.length}`);
  fit(body, shown, () => {
    const tr = el("tr");
    tr.setAttribute("role", "row");
    for (const label of ["", "result", "ended", "remaining", "took", "downtime", "work lost", "passes", "actions"]) {
      const td = el("td", ["took", "downtime", "work lost", "passes", "actions"].includes(label) ? "n" : "");
      td.setAttribute("role", "cell");
      if (label) td.dataset.label = label;
      td.append(label === "remaining" ? svg("svg", { class: "spark", viewBox: "0 0 110 26", role: "img" }) : el(label ? "span" : "bdi"));
      tr.append(td);
    }
    tr.children[2].firstChild.append(el("time"));
    svg("path", {}, tr.children[3].firstChild);
    return tr;
  }, (tr, m) => {
    const cells = [...tr.children].map((td) => td.firstChild);
    set(cells[0], m.vm);
    setAttr(cells[0], "title", m.uuid);
    cells[1].className = "word " + (m.result === "completed" ? "good" : m.result === "cancelled" ? "warn" : "bad");
    set(cells[1], m.result);
    const at = new Date(m.ended);
    setAttr(cells[2].firstChild, "datetime", m.ended);
    set(cells[2].firstChild, at.toDateString() === new Date().toDateString() ? at.toLocaleTimeString() : at.toLocaleString());
    spark(cells[3], m);
    set(cells[4], seconds(m.elapsed_seconds));
    set(cells[5], seconds(m.downtime_seconds));
    set(cells[6], seconds(m.work_lost_seconds));
    set(cells[7], String(m.iteration));
    set(cells[8], String(m.actions_applied));
  });
}

function spark(node, m) {
  const v = m.remaining_bytes;
  const max = Math.max(...v, 1);
  setAttr(node, "aria-label", v.length ? `${bytes(v[0])} at first, ${bytes(last(v))} at the end` : "not known: it ended before migpolicyd was started");
  setAttr(node.firstChild, "d", v.map((b, i) => `${i ? "L" : "M"}${((i / Math.max(v.length - 1, 1)) * 108 + 1).toFixed(1)} ${(25 - (b / max) * 23).toFixed(1)}`).join(""));
}

// ---- asking, again and again

let answered = 0; // when, by the page's clock
let asked = 0;

async function ask(what) {
  const reply = await fetch(API + what, { cache: "no-store", signal: AbortSignal.timeout(LOST_MS) });
  return reply.ok ? reply.json() : null;
}

function showFreshness(error) {
  const p = $("freshness");
  const age = (performance.now() - answered) / 1000;
  const isLost = !answered ? Boolean(error) : age * 1000 > LOST_MS || (error && age > 3);
  const name = "freshness " + (isLost ? "lost" : answered ? "live" : "");
  if (p.className !== name) p.className = name;
  set($("freshness-text"), isLost ? (answered ? "migpolicyd does not answer: what is shown is old" : "migpolicyd does not answer") : answered ? "live" : "asking the daemon…");
}

async function poll() {
  let error = null;
  try {
    const status = await ask("status");
    if (status) {
      answered = performance.now();
      set($("host-name"), status.host.name);
      set($("version"), `migpolicyd ${status.host.version}, ${status.host.uri}`);
      steadily(() => {
        const active = showMigrations(status.migrations);
        fitWords($("host"), hostTiles(status.host, status.leftovers, active));
        showLeftovers(status.leftovers);
      });
      const waiting = status.host.pending_questions + status.leftovers.length;
      const title = (waiting ? `(${waiting}) ` : "") + `migpolicy ${status.host.name}`;
      if (document.title !== title) document.title = title;
    }
    await Promise.all([...cards.values()].filter((card) => (card.visible || !card.course) && !(card.settled && !card.migration.active)).map(refreshCard));
    if (!asked || performance.now() - asked > HISTORY_MS) {
      await askWho();
      const history = await ask("history");
      if (history) steadily(() => showHistory(history.migrations));
      asked = performance.now();
    }
  } catch (e) {
    error = e;
  }
  showFreshness(error);
  setTimeout(poll, document.hidden ? POLL_MS * 5 : POLL_MS);
}

$("history-more").addEventListener("click", () => { historyAll = !historyAll; asked = 0; });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => cards.forEach(draw));
document.addEventListener("visibilitychange", () => { if (!document.hidden) asked = 0; });
poll();
