// SPDX-License-Identifier: LGPL-2.1-or-later
// The two plots of a card: what is left to send, and dirty against transfer rate. Of page.js they use the
// quantities and the elements; both are one script.
"use strict";

const PLOT = { left: 58, right: 10, top: 12, bottom: 20, height: 190 };

// A few round numbers up to max: binary ones for bytes.
function ticks(max, base) {
  if (!(max > 0)) return [];
  const unit = base ** Math.floor(Math.log(max) / Math.log(base));
  const steps = base === 1024 ? [1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 200, 256, 500, 512] : [0.1, 0.2, 0.5, 1, 2, 5];
  const step = unit * (steps.find((s) => max / (unit * s) <= 4.2) ?? 1);
  return Array.from({ length: Math.floor(max / step) }, (_, i) => (i + 1) * step);
}

function timeTicks(from, to) {
  const step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 36000].find((s) => (to - from) / s <= 6) ?? 86400;
  const list = [];
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) list.push(t);
  return list;
}

function frame(node, from, to, max) {
  const width = Math.max(node.clientWidth, 200);
  setAttr(node, "viewBox", `0 0 ${width} ${PLOT.height}`);
  const bottom = PLOT.height - PLOT.bottom;
  const f = {
    node, from, to, max, width, bottom,
    x: (t) => PLOT.left + ((t - from) / (to - from)) * (width - PLOT.left - PLOT.right),
    y: (v) => bottom - (v / max) * (bottom - PLOT.top),
  };
  const cross = node.querySelector(".cross");
  node.replaceChildren();
  if (cross) node.append(cross);
  f.label = node.dataset.label || "";
  if (f.label) svg("title", {}, node, f.label);
  return f;
}

function axes(f, format) {
  for (const v of ticks(f.max, 1024)) {
    svg("line", { class: "grid", x1: PLOT.left, x2: f.width - PLOT.right, y1: f.y(v), y2: f.y(v) }, f.node);
    svg("text", { x: PLOT.left - 6, y: f.y(v) + 4, "text-anchor": "end" }, f.node, format(v));
  }
  svg("line", { class: "axis", x1: PLOT.left, x2: f.width - PLOT.right, y1: f.bottom, y2: f.bottom }, f.node);
  for (const t of timeTicks(f.from, f.to)) {
    svg("line", { class: "axis", x1: f.x(t), x2: f.x(t), y1: f.bottom, y2: f.bottom + 4 }, f.node);
    if (f.x(t) < f.width - 24) svg("text", { x: f.x(t), y: f.bottom + 15, "text-anchor": "middle" }, f.node, seconds(t).replace(/\.0 s/, " s"));
  }
}

// A line over the points that are known.
function path(f, times, values) {
  let d = "";
  let pen = false;
  times.forEach((t, i) => {
    if (values[i] == null) { pen = false; return; }
    d += (pen ? "L" : "M") + f.x(t).toFixed(1) + " " + f.y(values[i]).toFixed(1);
    pen = true;
  });
  return d;
}

const last = (list) => list[list.length - 1];
const known = (list) => list.filter((v) => v != null);

// Where it is likely to end, no sooner than, and no later than.
function cone(f, m, now, remaining) {
  if (!m.active || m.verdict === "post-copy" || m.verdict === "switchover") return;
  const apex = `${f.x(now)} ${f.y(remaining)}`;
  if (m.forecast_ends === false) {
    const level = Math.max(f.y(m.plateau_bytes ?? remaining), PLOT.top);
    svg("rect", { class: "cone", x: f.x(now), y: level, width: Math.max(f.x(f.to) - f.x(now), 0), height: f.bottom - level }, f.node);
    svg("path", { class: "likely", d: `M${f.x(now)} ${level}L${f.x(f.to)} ${level}` }, f.node);
    svg("text", { x: f.x(f.to) - 4, y: level + 14, "text-anchor": "end" }, f.node, "does not end");
    return;
  }
  if (m.forecast_earliest_seconds == null) return;
  const early = f.x(Math.min(now + m.forecast_earliest_seconds, f.to));
  const open = m.forecast_latest_seconds == null;
  const late = open ? `${f.x(f.to)} ${f.y(remaining)}L${f.x(f.to)} ${f.bottom}` : `${f.x(Math.min(now + m.forecast_latest_seconds, f.to))} ${f.bottom}`;
  svg("path", { class: "cone", d: `M${apex}L${late}L${early} ${f.bottom}Z` }, f.node);
  if (m.forecast_remaining_seconds != null)
    svg("path", { class: "likely", d: `M${apex}L${f.x(Math.min(now + m.forecast_remaining_seconds, f.to))} ${f.bottom}` }, f.node);
}

function marks(f, events) {
  let before = -99;
  let row = 0; // those that are near each other stand below one another
  events.forEach((e, i) => {
    if (e.elapsed_seconds < f.from) return;
    const x = f.x(e.elapsed_seconds);
    row = x - before < 16 ? (row + 1) % 4 : 0;
    before = x;
    const y = PLOT.top + 1 + row * 15;
    const g = svg("g", { class: "mark " + e.result }, f.node);
    svg("title", {}, g, `${seconds(e.elapsed_seconds)}: ${e.action} ${e.result}: ${e.detail}`);
    svg("line", { x1: x, x2: x, y1: y + 7, y2: f.bottom }, g);
    svg("circle", { cx: x, cy: y, r: 7.5 }, g);
    svg("text", { x, y: y + 3.6 }, g, String(i + 1));
  });
}

// How much of the future is shown: the forecast, but the past keeps the greater part.
function horizon(m, from, now) {
  const past = Math.max(now - from, 4);
  if (!m.active) return now;
  const end = m.forecast_latest_seconds ?? m.forecast_remaining_seconds ?? (m.forecast_ends === false ? past * 0.25 : m.forecast_earliest_seconds ?? 0);
  return now + Math.min(Math.max(end * 1.05, past * 0.06), past * 0.9);
}

// The first pass sends everything, and takes its time: once there are later ones, which it would squeeze
// into a corner, the plot shows no more of it than its end. The index of the first point after it, or 0.
function endOfFirstPass(c) {
  const tops = [];
  c.remaining_bytes.forEach((v, i) => { if (i && v > c.remaining_bytes[i - 1]) tops.push(i); });
  if (tops.length < 2) return 0;
  const t = c.elapsed_seconds;
  return t[tops[0]] - t[0] > 0.3 * (last(t) - t[0]) || c.remaining_bytes[0] > 2 * Math.max(...tops.map((i) => c.remaining_bytes[i])) ? tops[0] : 0;
}

function drawSawtooth(card) {
  const { course: c, migration: m, events } = card;
  const t = c.elapsed_seconds;
  if (!t.length) return;
  const now = m.active ? Math.max(m.elapsed_seconds, last(t)) : last(t);
  const first = endOfFirstPass(c);
  const from = first ? Math.max(t[first] - 0.15 * (now - t[first]), t[0]) : t[0] < 3 ? 0 : t[0];
  const max = Math.max(...c.remaining_bytes.slice(first), ...known(c.switchover_bytes), 1) * (first ? 1.2 : 1.06);
  const f = frame(card.sawtooth, from, horizon(m, from, now), max);
  axes(f, bytes);
  set(card.cut, first ? ` from ${whole(from)} on` : "");
  const clip = svg("clipPath", { id: "clip-" + card.uuid }, f.node);
  svg("rect", { x: PLOT.left, y: PLOT.top - 8, width: f.width - PLOT.left - PLOT.right + 1, height: f.bottom - PLOT.top + 9 }, clip);
  const line = path(f, t, c.remaining_bytes);
  cone(f, m, now, last(c.remaining_bytes));
  svg("path", { class: "area", "clip-path": `url(#clip-${card.uuid})`, d: `${line}L${f.x(last(t))} ${f.bottom}L${f.x(t[0])} ${f.bottom}Z` }, f.node);
  svg("path", { class: "threshold", "clip-path": `url(#clip-${card.uuid})`, d: path(f, t.concat(m.active ? f.to : []), c.switchover_bytes.concat(m.active ? last(c.switchover_bytes) : [])) }, f.node);
  svg("path", { class: "remaining", "clip-path": `url(#clip-${card.uuid})`, d: line }, f.node);
  if (m.active) svg("line", { class: "now", x1: f.x(now), x2: f.x(now), y1: PLOT.top, y2: f.bottom }, f.node);
  marks(f, events);
  card.frames.sawtooth = f;
}

function drawRates(card) {
  const { course: c, migration: m } = card;
  const t = c.elapsed_seconds;
  if (!t.length) return;
  const from = t[0] < 3 ? 0 : t[0];
  const to = Math.max(m.active ? Math.max(m.elapsed_seconds, last(t)) : last(t), from + 1);
  const all = known(c.dirty_rate_bytes_per_second).concat(known(c.transfer_rate_bytes_per_second));
  const f = frame(card.rates, from, to, Math.max(...all, 1) * 1.12);
  axes(f, rate);
  let since = null;
  t.concat(to).forEach((at, i) => {
    const limited = i < t.length && c.cpu_limit_ratio[i] < 0.9995;
    if (limited && since == null) since = at;
    if (!limited && since != null) {
      svg("rect", { class: "throttled", x: f.x(since), y: PLOT.top, width: Math.max(f.x(at) - f.x(since), 1), height: f.bottom - PLOT.top }, f.node);
      since = null;
    }
  });
  if (since != null)
    svg("rect", { class: "throttled", x: f.x(since), y: PLOT.top, width: Math.max(f.x(to) - f.x(since), 1), height: f.bottom - PLOT.top }, f.node);
  svg("path", { class: "transfer", d: path(f, t, c.transfer_rate_bytes_per_second) }, f.node);
  svg("path", { class: "dirty", d: path(f, t, c.dirty_rate_bytes_per_second) }, f.node);
  card.frames.rates = f;
}

function draw(card) {
  if (!card.course || !card.migration) return;
  const m = card.migration;
  const c = card.course;
  const pass = `pass ${m.iteration}`;
  card.sawtooth.dataset.label = `Remaining memory since the start: ${bytes(last(c.remaining_bytes))} now, in ${pass}; it switches over below ${bytes(last(c.switchover_bytes))}. ${sentence(m)} ${card.events.length} marks for what was decided, listed below.`;
  card.rates.dataset.label = `Dirtied ${rate(last(c.dirty_rate_bytes_per_second))}, sent ${rate(last(c.transfer_rate_bytes_per_second))}.`;
  for (const node of [card.sawtooth, card.rates]) setAttr(node, "aria-label", node.dataset.label);
  drawSawtooth(card);
  drawRates(card);
  readout(card);
}

// What the plots say at a moment: where the pointer is, else now.
function readout(card) {
  const c = card.course;
  if (!c || !c.elapsed_seconds.length) return;
  let i = c.elapsed_seconds.length - 1;
  let when = "";
  if (card.pointed != null) {
    const after = c.elapsed_seconds.findIndex((t) => t > card.pointed);
    i = after < 0 ? i : Math.max(after - 1, 0);
    when = `at ${seconds(c.elapsed_seconds[i])}: `;
  }
  for (const [name, f] of Object.entries(card.frames)) {
    let cross = f.node.querySelector(".cross");
    if (card.pointed == null) { cross?.remove(); continue; }
    if (!cross) cross = svg("line", { class: "cross", y1: PLOT.top, y2: f.bottom }, f.node);
    const x = f.x(c.elapsed_seconds[i]);
    setAttr(cross, "x1", String(x));
    setAttr(cross, "x2", String(x));
    card.frames[name].node.append(cross);
  }
  set(card.remainingNow, when + bytes(c.remaining_bytes[i]));
  set(card.ratesNow, `${when}dirtied ${rate(c.dirty_rate_bytes_per_second[i])}, sent ${rate(c.transfer_rate_bytes_per_second[i])}`);
}

function follow(card, node, name) {
  node.addEventListener("pointermove", (event) => {
    const f = card.frames[name];
    if (!f) return;
    const x = event.clientX - node.getBoundingClientRect().left;
    card.pointed = f.from + ((x - PLOT.left) / (f.width - PLOT.left - PLOT.right)) * (f.to - f.from);
    readout(card);
  });
  node.addEventListener("pointerleave", () => { card.pointed = null; readout(card); });
}
