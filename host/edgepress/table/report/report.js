"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const state = { group: 0, search: "", stable: false, every: false, sort: null, descending: false };

  // Colours that people with any kind of colour vision tell apart (Okabe and Ito 2008).
  const palette = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#b8a800"];
  const symbols = ["circle", "square", "triangle-up", "cross", "x", "star", "hexagon"];
  const doubtful = { stable: "good", unstable: "doubt", foreign: "doubt", throttled: "bad", implausible: "bad" };
  const checks = { identical: "good", "within tolerance": "good", "as good": "good", wrong: "bad" };

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

  function visibleRows() {
    const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = data.rows.filter((row) => row.group === state.group && (state.every || row.newest))
      .filter((row) => !state.stable || (row.verdict === "stable" && !row.cells.some(([text]) => text === "wrong")))
      .filter((row) => {
        const text = [...row.cells.map(([cell]) => cell), ...row.warnings].join(" ").toLowerCase();
        return words.every((word) => text.includes(word));
      });
    if (state.sort === null) return rows;
    const sign = state.descending ? -1 : 1;
    const missing = (value) => value === null || value === undefined;
    return rows.sort((one, other) => {
      const a = one.cells[state.sort][1], b = other.cells[state.sort][1];
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      return sign * (a < b ? -1 : a > b ? 1 : 0);
    });
  }

  function drawHeader() {
    const head = document.querySelector("#rows thead tr");
    head.replaceChildren();
    data.columns.forEach((column, index) => {
      const cell = element("th", null, { scope: "col" });
      if (column.number) cell.classList.add("number");
      const isSorted = state.sort === index;
      cell.setAttribute("aria-sort", isSorted ? (state.descending ? "descending" : "ascending") : "none");
      const button = element("button", column.label, { type: "button", "data-column": column.key });
      button.addEventListener("click", () => {
        state.descending = isSorted && !state.descending;
        state.sort = index;
        update();
        document.querySelector(`#rows [data-column="${column.key}"]`).focus();
      });
      cell.append(button);
      head.append(cell);
    });
    const last = element("th", null, { scope: "col" });
    last.append(element("span", "All that is known", { class: "hidden" }));
    head.append(last);
  }

  function drawRows(rows) {
    const body = document.querySelector("#rows tbody");
    body.replaceChildren(...rows.map(drawRow));
  }

  function drawRow(row) {
    const line = element("tr", null, { "data-row": row.id });
    if (row.pareto) line.classList.add("pareto");
    row.cells.forEach(([text], index) => {
      const column = data.columns[index];
      const cell = element("td", text, { class: column.key });
      if (column.number) cell.classList.add("number");
      if (column.key === "verdict") cell.classList.add(doubtful[text] || "bad");
      if (column.key === "check") cell.classList.add(checks[text] || "dim");
      if (column.key === "verdict" && row.warnings.length) cell.setAttribute("title", row.warnings.join("\n"));
      line.append(cell);
    });
    const cell = element("td");
    const button = element("button", "details", { type: "button", "aria-expanded": "false", "aria-label": `details of ${row.name}` });
    button.addEventListener("click", () => toggleDetails(line, button, row));
    cell.append(button);
    line.append(cell);
    return line;
  }

  function toggleDetails(line, button, row) {
    const isOpen = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) { line.nextElementSibling.remove(); return; }
    const more = element("tr", null, { class: "details" });
    const cell = element("td", null, { class: "all", colspan: data.columns.length + 1 });
    for (const warning of row.warnings) cell.append(element("p", warning, { class: "notice" }));
    const list = element("dl");
    for (const [name, value] of row.facts) list.append(element("dt", name), element("dd", value));
    cell.append(list);
    more.append(cell);
    line.after(more);
  }

  function drawGlance(rows, group) {
    const cards = [];
    const card = (title, row, value) => {
      const made = element("div", null, { class: "card" });
      made.append(element("span", title, { class: "dim" }), element("strong", value), element("span", row.name));
      cards.push(made);
    };
    const best = data.columns.findIndex((column) => column.key === "best");
    for (const row of rows) {
      const names = row.cells[best][0];
      if (names.includes("accurate") || names.includes("best ")) card("Best " + group.metric, row, metric(row.metric, group));
      if (names.includes("fastest")) card("Fastest", row, duration(row.p50));
      if (names.includes("smallest")) card("Smallest", row, bytes(row.bytes));
    }
    byId("glance").replaceChildren(...cards.slice(0, 6));
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
    const [unit, name] = unitOf(Math.max(...measured.map((row) => row.latency.p95), 1));
    const names = labels(measured);
    const colour = colours();
    const of = (key) => measured.map((row) => row.latency[key] / unit);
    draw("latency", measured.length ? [{
      type: "box", orientation: "h", y: names, q1: of("q1"), median: of("median"), q3: of("q3"),
      lowerfence: of("p5"), upperfence: of("p95"), line: { color: palette[0], width: 1.5 }, hoverinfo: "x", width: 0.6,
    }, {
      type: "scatter", mode: "markers", hoverinfo: "text",
      x: measured.flatMap((row) => row.latency.processes.map((ns) => ns / unit)),
      y: measured.flatMap((row, index) => row.latency.processes.map(() => names[index])),
      hovertext: measured.flatMap((row) => row.latency.processes.map((ns, index) => `process ${index + 1}: ${duration(ns)}`)),
      marker: { color: palette[3], size: 6, opacity: 0.8, line: { width: 1, color: colour.paper } },
    }] : [], {
      ...bars(measured), xaxis: { title: { text: `latency (${name})` }, rangemode: "tozero" }, yaxis: { autorange: "reversed", type: "category" },
    }, "Boxes: the middle half of all inferences, whiskers from p5 to p95. Dots: the median of each worker process; two clusters mean that the machine has two speeds.");
  }

  function stacked(id, rows, parts, unit, title, words) {
    const names = labels(rows);
    draw(id, rows.length ? parts.map(([label, value], index) => ({
      type: "bar", orientation: "h", name: label, y: names, x: rows.map((row) => value(row) / unit),
      marker: { color: palette[index] }, hovertemplate: `${label}: %{x:.3g}<extra></extra>`,
    })) : [], {
      ...bars(rows), barmode: "stack", showlegend: true, bargap: 0.35, margin: { l: 8, r: 12, t: 36, b: 8 },
      xaxis: { title: { text: title } }, yaxis: { autorange: "reversed", type: "category" },
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
      known.length ? "Weights and other constants by kind of operator, as the kept .tflite files say. Time by operator is not measured by this version."
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

  function update() {
    const rows = visibleRows();
    const group = data.groups[state.group];
    const all = data.rows.filter((row) => row.group === state.group).length;
    byId("count").textContent = data.rows.length ? `${rows.length} of ${all} rows` : "no rows";
    byId("conditions").textContent = group ? group.title : "";
    const warning = byId("warning");
    warning.hidden = !(group && group.emulated);
    warning.textContent = warning.hidden ? "" : "Emulated: these times say nothing about real hardware.";
    drawHeader();
    drawRows(rows);
    byId("notes").replaceChildren(...(group ? group.notes : []).map((note) => element("li", note)));
    if (!group) return;
    drawGlance(rows, group);
    drawPareto(rows, group);
    drawLatency(rows);
    drawPhases(rows);
    drawMemory(rows);
    drawOperators(rows);
    drawBoard(rows);
    drawHistory();
  }

  data.groups.forEach((group, index) => byId("group").append(element("option", group.title, { value: index })));
  data.series.forEach((one, index) => byId("series").append(element("option", one.name, { value: index })));
  if (data.series.length) byId("series").value = String(data.series.length - 1);
  byId("group").addEventListener("change", (event) => { state.group = Number(event.target.value); update(); });
  byId("search").addEventListener("input", (event) => { state.search = event.target.value; update(); });
  byId("stable").addEventListener("change", (event) => { state.stable = event.target.checked; update(); });
  byId("every").addEventListener("change", (event) => { state.every = event.target.checked; update(); });
  byId("series").addEventListener("change", drawHistory);
  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    update();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);
  update();
})();
