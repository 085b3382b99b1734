// The table, and what the controls do.
const state = { group: 0, search: "", stable: false, every: false, sort: null, descending: false };
const doubtful = { stable: "good", unstable: "doubt", foreign: "doubt", throttled: "bad", implausible: "bad" };
const checks = { identical: "good", "within tolerance": "good", "as good": "good", wrong: "bad" };

const cellOf = (row, key) => row.cells[data.columns.findIndex((column) => column.key === key)];

function chosenRows() {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  return data.rows.filter((row) => row.group === state.group && (state.every || row.newest))
    .filter((row) => !state.stable || (row.verdict === "stable" && cellOf(row, "check")[0] !== "wrong"))
    .filter((row) => {
      const text = [...row.cells.map(([cell]) => cell), ...row.warnings].join(" ").toLowerCase();
      return words.every((word) => text.includes(word));
    });
}

function sorted(rows) {
  if (state.sort === null) return rows;
  const sign = state.descending ? -1 : 1;
  const missing = (value) => value === null || value === undefined;
  return [...rows].sort((one, other) => {
    const a = one.cells[state.sort][1], b = other.cells[state.sort][1];
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    return sign * (a < b ? -1 : a > b ? 1 : 0);
  });
}

function drawTable(rows) {
  drawHeader();
  document.querySelector("#rows tbody").replaceChildren(...sorted(rows).map(drawRow));
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
      drawTable(chosenRows()); // the charts keep the order of time
      document.querySelector(`#rows [data-column="${column.key}"]`).focus();
    });
    cell.append(button);
    head.append(cell);
  });
  const last = element("th", null, { scope: "col" });
  last.append(element("span", "All that is known", { class: "hidden" }));
  head.append(last);
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
  for (const row of rows) {
    const names = cellOf(row, "best")[0];
    if (names.includes("accurate") || names.includes("best ")) card("Best " + group.metric, row, metric(row.metric, group));
    if (names.includes("fastest")) card("Fastest", row, duration(row.p50));
    if (names.includes("smallest")) card("Smallest", row, bytes(row.bytes));
  }
  byId("glance").replaceChildren(...cards.slice(0, 6));
}

function update() {
  const rows = chosenRows();
  const group = data.groups[state.group];
  const all = data.rows.filter((row) => row.group === state.group).length;
  byId("count").textContent = data.rows.length ? `${rows.length} of ${all} rows` : "no rows";
  byId("conditions").textContent = group ? group.title : "";
  const warning = byId("warning");
  warning.hidden = !(group && group.emulated);
  warning.textContent = warning.hidden ? "" : "Emulated: these times say nothing about real hardware.";
  drawTable(rows);
  byId("notes").replaceChildren(...(group ? group.notes : []).map((note) => element("li", note)));
  if (!group) return;
  drawGlance(rows, group);
  drawPareto(rows, group);
  drawLatency(rows);
  drawPhases(rows);
  drawMemory(rows);
  drawOperators(rows);
  drawBoard(rows);
  drawFigures(rows);
  drawHistory();
}

makeFigures();
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
