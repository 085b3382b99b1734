// Charts. This file and report.js, which follows it, share one scope: the template puts them into one function.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

// Colours that people with any kind of colour vision tell apart (Okabe and Ito 2008).
const palette = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#b8a800"];

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text; // text, never markup
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// plotly reads a little markup in its texts; a name has none.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const short = (text, length = 36) => (text.length > length ? text.slice(0, length - 1) + "…" : text);

function duration(ns) {
  for (const [unit, name] of [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]]) {
    if (ns >= unit * 0.9995) return `${Number((ns / unit).toPrecision(3))} ${name}`;
  }
  return `${Math.round(ns)} ns`;
}
function bytes(count) {
  for (const [unit, name] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (count >= unit) return `${Number((count / unit).toPrecision(3))} ${name}`;
  }
  return `${count} B`;
}
function metric(value, group) {
  if (value === null) return "-";
  return group.metricIsFraction ? `${(100 * value).toFixed(1)}%` : Number(value.toPrecision(4)).toString();
}
// One unit for an axis, chosen by its largest value.
function unitOf(largest) {
  return [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]].find(([unit]) => largest >= unit) || [1, "ns"];
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return { ink: of("--ink"), dim: of("--dim"), grid: of("--grid"), paper: of("--paper"), accent: of("--accent") };
}

function draw(id, traces, layout, description) {
  const colour = colours();
  const place = byId(id);
  byId(`d-${id}`).textContent = description;
  if (traces.length === 0) { Plotly.purge(place); return; }
  const axis = { gridcolor: colour.grid, zerolinecolor: colour.grid, linecolor: colour.grid, automargin: true };
  const full = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour.ink, family: "system-ui, sans-serif", size: 12 },
    margin: { l: 8, r: 12, t: 8, b: 8 }, hoverlabel: { align: "left" }, showlegend: false,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 11 }, traceorder: "normal" },
    ...layout,
  };
  if (full.showlegend && place.clientWidth < 480) full.height += 18 * traces.length; // the legend stands above, a line each
  for (const name of ["xaxis", "yaxis", "yaxis2"]) if (layout[name]) full[name] = { ...axis, ...layout[name] };
  Plotly.react(place, traces, full, { responsive: true, displayModeBar: false });
}

const bars = (rows) => ({ height: Math.max(200, 90 + 26 * rows.length) });
const labels = (rows) => rows.map((row, index) => `${plain(short(row.name))}${"\u200b".repeat(index)}`);
const ofMeasured = (rows) => rows.filter((row) => row.latency);

function drawPareto(rows, group) {
  const hasMetric = rows.some((row) => row.metric !== null);
  const [unit, name] = unitOf(Math.max(...rows.map((row) => row.p50), 1));
  const largest = Math.max(...rows.map((row) => row.bytes), 1);
  const value = (row) => (hasMetric ? (group.metricIsFraction ? 100 * row.metric : row.metric) : row.bytes / 1024);
  const shown = rows.filter((row) => !hasMetric || row.metric !== null);
  const front = shown.filter((row) => row.pareto).sort((a, b) => a.p50 - b.p50);
  const colour = colours();
  const traces = shown.length ? [{
    type: "scatter", mode: "lines", x: front.map((row) => row.p50 / unit), y: front.map(value), hoverinfo: "skip",
    line: { color: colour.accent, dash: "dot", width: 1.5 },
  }, {
    type: "scatter", mode: shown.length <= 12 ? "markers+text" : "markers", cliponaxis: false,
    x: shown.map((row) => row.p50 / unit), y: shown.map(value),
    text: shown.map((row) => plain(short(row.name.split(" · ").pop(), 16))), textposition: "top center",
    textfont: { size: 11, color: colour.ink },
    hovertext: shown.map((row) => [row.name, `${group.metric || "size"} ${hasMetric ? metric(row.metric, group) : bytes(row.bytes)}`,
      `p50 ${duration(row.p50)}`, bytes(row.bytes), row.verdict, row.pareto ? "Pareto-optimal" : ""]
      .filter(Boolean).map(plain).join("<br>")),
    hoverinfo: "text",
    marker: {
      size: shown.map((row) => 9 + 23 * Math.sqrt(row.bytes / largest)),
      symbol: shown.map((row) => (row.pareto ? "diamond" : row.verdict === "stable" ? "circle" : "circle-open")),
      color: shown.map((row) => (row.pareto ? colour.accent : colour.dim)), opacity: 0.85,
      line: { width: 1.5, color: colour.paper },
    },
  }] : [];
  const words = `${shown.length} rows; right is slower, up is ${hasMetric ? (group.higherIsBetter ? "better" : "worse") : "larger"}, ` +
    `a larger mark is a larger file; diamonds are Pareto-optimal, open marks are not to be believed.` +
    (group.emulated ? " Emulated: the times say nothing about real hardware." : "");
  draw("pareto", traces, {
    height: 400, margin: { l: 8, r: 24, t: 28, b: 8 },
    xaxis: { title: { text: `p50 latency (${name})` }, rangemode: "tozero" },
    yaxis: { title: { text: hasMetric ? `${plain(group.metric)}${group.metricIsFraction ? " (%)" : ""}` : "size (KiB)" } },
  }, words);
}

function drawLatency(rows) {
  const measured = ofMeasured(rows);
  const [unit, name] = unitOf(Math.max(...measured.map((row) => row.latency.high), 1));
  const names = labels(measured);
  const colour = colours();
  const of = (key) => measured.map((row) => row.latency[key] / unit);
  draw("latency", measured.length ? [{
    type: "box", orientation: "h", y: names, q1: of("q1"), median: of("median"), q3: of("q3"),
    lowerfence: of("low"), upperfence: of("high"), line: { color: palette[0], width: 1.5 }, hoverinfo: "x", width: 0.6,
  }, {
    type: "scatter", mode: "markers", hoverinfo: "text",
    x: measured.flatMap((row) => row.latency.processes.map((ns) => ns / unit)),
    y: measured.flatMap((row, index) => row.latency.processes.map(() => names[index])),
    hovertext: measured.flatMap((row) => row.latency.processes.map((ns, index) => `process ${index + 1}: ${duration(ns)}`)),
    marker: { color: palette[3], size: 6, opacity: 0.8, line: { width: 1, color: colour.paper } },
  }] : [], {
    ...bars(measured), xaxis: { title: { text: `latency (${name})` }, rangemode: "tozero" }, yaxis: { autorange: "reversed", type: "category" },
  }, "Boxes: the middle half of all inferences, whiskers from p5 to p95 (none where fewer than 130 inferences were timed). Dots: the median of each worker process; two clusters mean that the machine has two speeds.");
}

function stacked(id, rows, parts, unit, title, words) {
  const names = labels(rows);
  draw(id, rows.length ? parts.map(([label, value], index) => ({
    type: "bar", orientation: "h", name: label, y: names, x: rows.map((row) => value(row) / unit),
    marker: { color: palette[index] }, hovertemplate: `${label}: %{x:.3g}<extra></extra>`,
  })) : [], {
    ...bars(rows), barmode: "stack", showlegend: true, bargap: 0.35, margin: { l: 8, r: 12, t: 36, b: 8 },
    xaxis: { title: { text: title }, nticks: 6, tickangle: 0 }, yaxis: { autorange: "reversed", type: "category" },
  }, words);
}

function drawPhases(rows) {
  const measured = ofMeasured(rows);
  const parts = ["spawn", "import", "load", "allocate", "first"].map((name) => [name === "first" ? "first inference" : name, (row) => row.phases[name]]);
  stacked("phases", measured, parts, 1e6, "ms, mean of cold starts",
    "Starting a process, importing the runtime, loading the model, allocating tensors, the first inference. None of it is in the steady latency.");
}

function drawMemory(rows) {
  const parts = [["runtime", (row) => row.memory.runtime], ["model", (row) => row.memory.model]];
  stacked("memory", ofMeasured(rows), parts, 2 ** 20, "MiB, peak resident set",
    "What a worker process had resident after importing the runtime, and what the model added at its peak.");
}

function drawOperators(rows) {
  const known = rows.filter((row) => row.operators && row.operators.length);
  const totals = new Map();
  for (const row of known) for (const [kind, , size] of row.operators) totals.set(kind, (totals.get(kind) || 0) + size);
  const kinds = [...totals].filter(([, size]) => size > 0).sort((a, b) => b[1] - a[1]).slice(0, 6).map(([kind]) => kind);
  const sizeOf = (row, kind) => row.operators.filter(([name]) => name === kind).reduce((sum, [, , size]) => sum + size, 0);
  const rest = (row) => row.operators.filter(([name]) => !kinds.includes(name)).reduce((sum, [, , size]) => sum + size, 0);
  const parts = [...kinds.map((kind) => [plain(kind), (row) => sizeOf(row, kind)]), ["others", rest]];
  stacked("operators", known, parts, 1024, "KiB of constants, by operator",
    known.length ? "Weights and other constants by kind of operator, as the kept .tflite files say. Their times are drawn once `edgepress profile` has taken them."
      : "The .tflite files of these rows are not kept beside the table, so that their operators are not known.");
}

function drawBoard(rows) {
  const sessions = new Map();
  for (const row of ofMeasured(rows)) {
    const known = row.board.temperature.some((value) => value !== null) || row.board.hertz.some((value) => value !== null);
    if (known) sessions.set(row.session, row);
  }
  const newest = [...sessions.values()].slice(-6);
  const traces = newest.flatMap((row, index) => [{
    type: "scatter", mode: "lines", name: `°C ${plain(row.cells.at(-1)[0])}`, x: row.board.seconds, y: row.board.temperature,
    connectgaps: true, line: { color: palette[index] },
  }, {
    type: "scatter", mode: "lines", name: `GHz ${plain(row.cells.at(-1)[0])}`, x: row.board.seconds, yaxis: "y2",
    y: row.board.hertz.map((hertz) => (hertz === null ? null : hertz / 1e9)), connectgaps: true,
    line: { color: palette[index], dash: "dot", shape: "hv" },
  }]);
  draw("board", traces, {
    height: 320, showlegend: newest.length > 0, margin: { l: 8, r: 8, t: 40, b: 8 },
    xaxis: { title: { text: "s since the session began" } }, yaxis: { title: { text: "temperature (°C)" } },
    yaxis2: { title: { text: "clock (GHz), dotted" }, overlaying: "y", side: "right", rangemode: "tozero", showgrid: false, nticks: 5, tickmode: "auto" },
  }, newest.length ? "Temperature and clock while the newest sessions ran." : "This board shows neither its temperature nor its clock.");
}

// A figure for each part of a model, such as the time of its operators: a chart for each kind of figures that there is.
const kindsOfFigures = [...new Set(data.figures.map((one) => one.what))].sort();

function makeFigures() {
  kindsOfFigures.forEach((what, index) => {
    const id = `parts-${index}`;
    const figure = element("figure", null, { class: "full" });
    const label = element("label", "Model", { class: "wide" });
    const choice = element("select", null, { id: `choice-${id}` });
    choice.addEventListener("change", update);
    label.append(choice);
    figure.append(element("h2", what[0].toUpperCase() + what.slice(1), { id: `t-${id}` }), label,
      element("div", null, { id, class: "chart", role: "img", "aria-labelledby": `t-${id}`, "aria-describedby": `d-${id}` }),
      element("figcaption", null, { id: `d-${id}` }));
    byId("history").parentElement.before(figure);
  });
}

function drawFigures(rows) {
  const ids = new Set(rows.map((row) => row.id));
  kindsOfFigures.forEach((what, index) => {
    const id = `parts-${index}`;
    const choice = byId(`choice-${id}`);
    const shown = data.figures.filter((one) => one.what === what && one.rows.some((row) => ids.has(row)));
    byId(id).parentElement.hidden = shown.length === 0;
    if (shown.length === 0) return;
    const chosen = shown[Math.max(0, Number(choice.value) < shown.length ? Number(choice.value) : 0)];
    choice.replaceChildren(...shown.map((one, position) => element("option", one.name, { value: position })));
    choice.value = String(shown.indexOf(chosen));
    drawParts(id, chosen);
  });
}

function drawParts(id, one) {
  const isTime = one.unit === "ns";
  const [unit, name] = isTime ? unitOf(Math.max(...one.values, 1)) : [1, one.unit];
  const totals = new Map();
  one.kinds.forEach((kind, index) => totals.set(kind, (totals.get(kind) || 0) + one.values[index]));
  const sum = [...totals.values()].reduce((all, value) => all + value, 0) || 1;
  const colour = colours();
  const traces = [...totals].sort((a, b) => b[1] - a[1]).map(([kind, total], rank) => {
    const places = one.kinds.flatMap((other, index) => (other === kind ? [index] : []));
    const share = (value) => (isTime ? ` ${(100 * value / sum).toFixed(1)}%` : "");
    const said = (value) => (value === null ? "not known" : isTime ? duration(value) + share(value) : String(value));
    return {
      type: "bar", name: plain(kind) + share(total), x: places, y: places.map((index) => one.values[index] === null ? null : one.values[index] / unit),
      marker: { color: palette[rank] || colour.dim }, hoverinfo: "text",
      hovertext: places.map((index) => [`${index} ${kind}`, said(one.values[index]), short(one.names[index], 80)].map(plain).join("<br>")),
    };
  });
  draw(id, traces, {
    height: 340, barmode: "stack", showlegend: true, bargap: 0.15, margin: { l: 8, r: 12, t: 40, b: 8 },
    xaxis: { title: { text: "in the order in which they run" }, dtick: Math.ceil(one.kinds.length / 12) },
    yaxis: { title: { text: `${plain(one.what)}${name ? ` (${plain(name)})` : ""}` }, rangemode: "tozero" },
  }, one.note);
}

function drawHistory() {
  const choice = byId("series");
  choice.parentElement.hidden = data.series.length === 0;
  const one = data.series[Number(choice.value)];
  if (!one) { draw("history", [], {}, "Nothing was measured more than once."); return; }
  const [unit, name] = unitOf(Math.max(...one.p50));
  const colour = colours();
  const traces = [{
    type: "scatter", mode: "lines+markers", x: one.times, y: one.p50.map((ns) => ns / unit),
    error_y: { type: "data", symmetric: false, array: one.high.map((ns, i) => (ns - one.p50[i]) / unit),
      arrayminus: one.low.map((ns, i) => (one.p50[i] - ns) / unit), thickness: 1, width: 0, color: colour.dim },
    line: { width: 1, color: colour.dim }, marker: { color: palette[0], size: 7 }, hovertext: one.p50.map(duration), hoverinfo: "x+text",
  }, ...one.levels.map(([start, stop, value]) => ({
    type: "scatter", mode: "lines", x: [one.times[start], one.times[stop]], y: [value / unit, value / unit],
    line: { color: palette[3], width: 3 }, hoverinfo: "skip",
  }))];
  const steps = one.steps.map((step) => `${(100 * (step.ratio - 1)).toFixed(1)}% at ${step.time.slice(0, 16)} (${step.changed.join("; ") || "nothing that a row knows has changed"})`);
  draw("history", traces, {
    height: 320, xaxis: { type: "date" }, yaxis: { title: { text: `p50 (${name})` } },
  }, `${one.p50.length} measurements. ` + (steps.length ? `Steps: ${steps.join(", ")}.` : "No step that exceeds the noise between sessions."));
}

