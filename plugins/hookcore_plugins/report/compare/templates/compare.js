"use strict";
// Nothing of a run becomes markup: texts are set as text, and numbers are numbers.
const data = JSON.parse(document.getElementById("data").textContent);
const find = id => document.getElementById(id);
const svgOf = name => document.createElementNS("http://www.w3.org/2000/svg", name);
const on = new Set(), charts = [];
const BOX = {left: 52, right: 10, top: 8, bottom: 26};
let axis = "epoch", chosen = null, order = data.runs.map((_, i) => i), sorted = null;

function add(parent, name, text, kind) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return parent.appendChild(element);
}
// Six colours that are told apart, in four styles of lines: for each style its dashes, and the dash and period of the key.
const HUES = [212, 24, 140, 330, 275, 184], STYLES = [["none", "100%", "100%"], ["7 4", "7px", "11px"], ["2 3", "2px", "5px"], ["12 3", "12px", "15px"]];
function hue(element, run) {
  const [dash, key, period] = STYLES[Math.floor(run / HUES.length) % STYLES.length];
  for (const [name, value] of [["hue", HUES[run % HUES.length]], ["dash", dash], ["key", key], ["period", period]]) element.style.setProperty("--" + name, value);
  return element;
}
function shown(value) {
  if (value === null || value === undefined) return "-";
  if (typeof value !== "number") return typeof value === "string" ? value : JSON.stringify(value);
  if (value === 0 || Number.isInteger(value) && Math.abs(value) < 1e7) return String(value);
  const size = Math.abs(value);
  return size >= 0.001 && size < 1000 ? String(Number(value.toFixed(4))) : String(Number(value.toPrecision(size >= 1 ? 6 : 3)));
}
// The value of a metric in the table, as in the terminal.
function fixed(value) {
  if (value === null) return "-";
  const size = Math.abs(value);
  return value === 0 || size >= 0.001 && size < 1000 ? value.toFixed(4) : String(Number(value.toPrecision(size >= 1 ? 6 : 3)));
}
function seconds(value) {
  if (value === null) return "-";
  if (value < 0.95) return Number((value * 1000).toPrecision(3)) + " ms";
  if (value < 60) return value.toFixed(1) + "s";
  if (value < 3600) return Math.floor(value / 60) + "m" + String(Math.floor(value % 60)).padStart(2, "0") + "s";
  return Math.floor(value / 3600) + "h" + String(Math.floor(value % 3600 / 60)).padStart(2, "0") + "m";
}
const placeOf = value => axis === "time" ? seconds(value) : axis + " " + shown(value);

// The points of a run's metric: those that have a place on the axis and a finite value.
function points(run, metric, log) {
  const places = data.runs[run].x[axis], values = data.runs[run].y[metric], found = [];
  if (!places || !values) return found;
  for (let i = 0; i < values.length; i++)
    if (values[i] !== null && places[i] !== null && (!log || values[i] > 0)) found.push([places[i], values[i]]);
  return found;
}
// The range of curves, and whether it is without their first values; without their first values if these would flatten the rest, as on the page of one run.
function range(curves) {
  let low = Infinity, high = -Infinity, restLow = Infinity, restHigh = -Infinity, rest = 0;
  for (const curve of curves) {
    const first = Math.max(1, Math.floor(curve.length / 10));
    curve.forEach(([, y], i) => {
      low = Math.min(low, y); high = Math.max(high, y);
      if (i >= first) { restLow = Math.min(restLow, y); restHigh = Math.max(restHigh, y); rest++; }
    });
  }
  const cut = rest >= 4 && restHigh > restLow && restHigh - restLow < 0.25 * (high - low), whole = [low, high];
  if (cut) [low, high] = [restLow, restHigh];
  if (low === high) { const margin = Math.abs(low) * 0.1 || 1; low -= margin; high += margin; }
  return [low, high, cut ? whole : null];
}
function ticks(low, high, most, whole) {
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 5, 10].map(one => one * power).find(one => one >= rough) || 10 * power;
  if (whole) step = Math.max(1, Math.round(step));
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-9 && found.length < 50; tick += step) found.push(Number(tick.toPrecision(12)));
  return found;
}
function logTicks(low, high) {
  const found = [];
  for (let power = Math.floor(low); power <= high && found.length < 60; power++)
    for (const one of high - low > 3 ? [1] : [1, 2, 5]) { const tick = Math.log10(one) + power; if (tick >= low && tick <= high) found.push(tick); }
  return found;
}
function draw(chart) {
  const {svg, metric} = chart, log = find("log").checked, width = svg.clientWidth || 600, height = chart.height;
  chart.width = svg.clientWidth;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("height", height);
  svg.replaceChildren();
  chart.note.textContent = "";
  const curves = new Map();
  for (const run of on) { const found = points(run, metric, log); if (found.length) curves.set(run, log ? found.map(([x, y]) => [x, Math.log10(y)]) : found); }
  chart.curves = new Map();
  const right = width - BOX.right, bottom = height - BOX.bottom;
  const text = (x, y, content, anchor) => { const one = svgOf("text"); one.setAttribute("x", x); one.setAttribute("y", y); one.setAttribute("text-anchor", anchor); one.textContent = content; svg.append(one); };
  if (!curves.size) { text(width / 2, height / 2, on.size ? "no value on this axis" : "no run is selected", "middle"); return; }
  let [low, high, cut] = range(curves.values()), from = Infinity, to = -Infinity;
  if (cut) chart.note.textContent = "The first values are outside of the axis; all lie between " + cut.map(y => shown(log ? 10 ** y : y)).join(" and ") + ".";
  const margin = (high - low) * 0.05; low -= margin; high += margin;
  for (const curve of curves.values()) for (const [x] of curve) { from = Math.min(from, x); to = Math.max(to, x); }
  if (from === to) { from -= 0.5; to += 0.5; }
  const atX = x => BOX.left + (x - from) / (to - from) * (right - BOX.left), atY = y => bottom - (y - low) / (high - low) * (bottom - BOX.top);
  const line = (x1, y1, x2, y2) => { const one = svgOf("line"); one.setAttribute("class", "grid"); one.setAttribute("x1", x1); one.setAttribute("y1", y1); one.setAttribute("x2", x2); one.setAttribute("y2", y2); svg.append(one); };
  for (const tick of log ? logTicks(low, high) : ticks(low, high, 5, false)) { line(BOX.left, atY(tick), right, atY(tick)); text(BOX.left - 6, atY(tick) + 4, shown(log ? 10 ** tick : tick), "end"); }
  for (const tick of ticks(from, to, Math.max(2, Math.floor(width / 90)), axis !== "time")) text(atX(tick), height - 8, axis === "time" ? seconds(tick) : shown(tick), atX(tick) > right - 14 ? "end" : "middle");
  const clip = svgOf("clipPath"), area = svgOf("rect"), group = svgOf("g");
  clip.id = "clip" + charts.indexOf(chart);
  area.setAttribute("x", BOX.left); area.setAttribute("y", 0); area.setAttribute("width", right - BOX.left + 3); area.setAttribute("height", bottom + 1);
  clip.append(area); group.setAttribute("clip-path", `url(#${clip.id})`); svg.append(clip, group);
  for (const [run, curve] of [...curves].reverse()) {
    const path = hue(svgOf("path"), run), at = curve.map(([x, y]) => [atX(x), atY(y)]);
    path.setAttribute("class", "curve"); path.dataset.run = run;
    path.setAttribute("d", at.map(([x, y], i) => (i ? "L" : "M") + x.toFixed(1) + " " + y.toFixed(1)).join(""));
    group.append(path);
    if (at.length === 1) { const spot = hue(svgOf("circle"), run); spot.setAttribute("class", "spot"); spot.setAttribute("r", 3); spot.setAttribute("cx", at[0][0]); spot.setAttribute("cy", at[0][1]); group.append(spot); }
    chart.curves.set(run, at.map(([x, y], i) => [x, y, curve[i][0], log ? 10 ** curve[i][1] : curve[i][1]]));
  }
  chart.spot = svgOf("circle"); chart.spot.setAttribute("class", "spot"); chart.spot.setAttribute("r", 4); chart.spot.setAttribute("visibility", "hidden"); group.append(chart.spot);
}
function choose(run) {
  if (run === chosen) return;
  chosen = run;
  document.body.classList.toggle("chosen", run !== null && on.has(run));
  document.querySelectorAll(".is-chosen").forEach(one => one.classList.remove("is-chosen"));
  if (run !== null) document.querySelectorAll(`[data-run="${run}"]`).forEach(one => one.classList.add("is-chosen"));
}
function point(chart, event) {
  const box = chart.svg.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  let best = null, nearest = Infinity;
  for (const [run, curve] of chart.curves || []) for (const at of curve) {
    const distance = (at[0] - x) ** 2 + (at[1] - y) ** 2;
    if (distance < nearest) { nearest = distance; best = [run, at]; }
  }
  if (!best) return leave(chart);
  const [run, [px, py, place, value]] = best, tip = find("tip");
  choose(run);
  hue(chart.spot, run).setAttribute("visibility", "visible");
  chart.spot.setAttribute("cx", px); chart.spot.setAttribute("cy", py);
  tip.replaceChildren();
  hue(add(tip, "b", data.runs[run].name), run);
  add(tip, "span", `${chart.metric} ${shown(value)}, ${placeOf(place)}`);
  tip.hidden = false;
  const wide = tip.offsetWidth, high = tip.offsetHeight;
  tip.style.left = Math.max(4, Math.min(innerWidth - wide - 4, event.clientX + 14)) + "px";
  tip.style.top = (event.clientY + 18 + high > innerHeight ? event.clientY - high - 12 : event.clientY + 18) + "px";
}
function leave(chart) { find("tip").hidden = true; if (chart.spot) chart.spot.setAttribute("visibility", "hidden"); choose(null); }

const COLUMNS = [
  ["run", run => run.name], ["best", run => run.best, "n", fixed], ["at", run => run.best_place], ["last", run => run.last, "n", fixed],
  ["epochs", run => run.epochs, "n", (value, run) => run.asked === null ? String(value) : `${value}/${run.asked}`], ["outcome", run => run.outcome, "why"],
  ["time", run => run.seconds, "n", seconds], ...data.differs.map((name, i) => [name, run => run.differs[i], "value"]),
];
const OUTCOME = COLUMNS.findIndex(([title]) => title === "outcome");
function table() {
  const body = document.querySelector("#runs tbody");
  body.replaceChildren();
  for (const i of order) {
    const run = data.runs[i], row = add(body, "tr");
    row.dataset.run = i; row.classList.toggle("on", on.has(i));
    COLUMNS.forEach(([, value, kind, format], column) => {
      const cell = add(row, "td", column ? (format || shown)(value(run), run) : undefined, column ? kind : "name");
      if (column === OUTCOME) {
        if (["failed", "interrupted", "preempted", "killed"].includes(run.outcome)) cell.classList.add("bad");
        if (run.why && run.outcome !== "completed") add(cell, "div", run.why, "soft");
      }
      if (column) return;
      const label = add(cell, "label"), box = add(label, "input");
      box.type = "checkbox"; box.checked = on.has(i);
      box.addEventListener("change", () => { box.checked ? on.add(i) : on.delete(i); all(); });
      hue(add(label, "span", undefined, "key"), i);
      add(label, "span", run.name);
    });
    row.addEventListener("pointerenter", () => choose(i));
    row.addEventListener("pointerleave", () => choose(null));
    row.addEventListener("focusin", () => choose(i));
    row.addEventListener("focusout", () => choose(null));
  }
}
function sort(column) {
  const value = COLUMNS[column][1], down = sorted === column;
  sorted = down ? null : column;
  const key = i => value(data.runs[i]);
  order.sort((i, j) => {
    const a = key(i), b = key(j);
    if (a === null || a === undefined || b === null || b === undefined) return (a === null || a === undefined) - (b === null || b === undefined);
    const less = typeof a === "number" && typeof b === "number" ? a - b : String(shown(a)).localeCompare(String(shown(b)), undefined, {numeric: true});
    return down ? -less : less;
  });
  table();
}
function all() {
  document.querySelectorAll("#runs tbody tr").forEach(row => { const is = on.has(Number(row.dataset.run)); row.classList.toggle("on", is); row.querySelector("input").checked = is; });
  const lacking = [...on].filter(run => !data.runs[run].x[axis]).length;
  find("note").textContent = [lacking ? `${lacking} of the selected runs ${lacking === 1 ? "has" : "have"} no ${axis} in the log, and no curve.` : "", ...data.notes].join(" ");
  charts.forEach(draw);
}
function select(which) {
  on.clear();
  data.runs.forEach((_, i) => { if (which === "all" || which === "best" && i < 10) on.add(i); });
}
find("by").textContent = data.by;
const first = data.runs[0];
if (first && first.best !== null) {
  hue(add(find("best"), "span", undefined, "key"), 0);
  add(find("best"), "b", first.name);
  add(find("best"), "span", ` is the best run: ${data.metrics[0]} ${fixed(first.best)} ${first.best_in}`);
}
for (const [i, metric] of data.metrics.entries()) {
  const figure = add(find("charts"), "figure", undefined, i ? "" : "first"), svg = svgOf("svg"), chart = {svg, metric, height: i ? 200 : 340};
  add(figure, "h3", metric);
  chart.note = add(figure, "p", undefined, "soft note");
  svg.setAttribute("role", "img"); svg.setAttribute("aria-label", `${metric} of each run; the table has the best and the last values`);
  figure.append(svg); charts.push(chart);
  for (const kind of ["pointermove", "pointerdown"]) svg.addEventListener(kind, event => point(chart, event));
  svg.addEventListener("pointerleave", () => leave(chart));
}
const head = add(document.querySelector("#runs thead"), "tr");
COLUMNS.forEach(([title,, kind], i) => { const cell = add(head, "th", undefined, kind); cell.scope = "col"; add(cell, "button", title.replace(/[._]/g, "$&\u200b")).addEventListener("click", () => sort(i)); });
data.left_out.forEach(text => add(find("left-out"), "li", "left out: " + text));
document.querySelectorAll("[name=x]").forEach(radio => radio.addEventListener("change", () => { axis = radio.value; all(); }));
find("log").addEventListener("change", all);
find("controls").addEventListener("submit", event => event.preventDefault());
document.querySelectorAll("[data-select]").forEach(button => button.addEventListener("click", () => { select(button.dataset.select); all(); }));
// Not the window's event: within a notebook's frame a chart has no width until later.
const resized = new ResizeObserver(() => charts.filter(chart => chart.svg.clientWidth !== chart.width).forEach(draw));
charts.forEach(chart => resized.observe(chart.svg.parentElement));
select(data.runs.length > 12 ? "best" : "all");
table();
all();
