// The table of all cells: filters, sorting, a page of rows at a time.
const PAGE = 100;
const NAVIGATION = { ArrowDown: 1, ArrowUp: -1 };
const collator = new Intl.Collator("en", { numeric: true });
const view = { words: [], chosen: {}, field: null, descending: false, page: 0, found: cells };
const columns = new Map(data.columns.map((column) => [column.field, column]));
const asked = new Set();
const kindOf = (column) => asked.has(column.field) ? "asked" : `p${column.priority}`;
const body = document.getElementById("rows");
const texts = cells.map((cell) =>
  data.columns.filter((column) => !column.numeric).map((column) => cell[column.field]).join("\n").toLowerCase());

const matches = (cell) =>
  view.words.every((word) => texts[cell.index].includes(word)) &&
  data.facets.every((field) => !view.chosen[field] || cell[field] === view.chosen[field]);

const compare = (a, b) => {
  const [left, right] = [a[view.field], b[view.field]];
  const leftAbsent = left === null || left === "", rightAbsent = right === null || right === "";
  // What is not there comes last, whichever way the others go.
  if (leftAbsent || rightAbsent) return leftAbsent - rightAbsent || a.index - b.index;
  const order = typeof left === "number" ? left - right : collator.compare(left, right);
  return (view.descending ? -order : order) || a.index - b.index;
};

function refresh() {
  view.found = cells.filter(matches);
  if (view.field) view.found.sort(compare);
  view.page = 0;
  renderRows();
}

function renderRows() {
  const first = view.page * PAGE, shown = view.found.slice(first, first + PAGE);
  body.replaceChildren(...shown.map(renderRow));
  const last = first + shown.length, all = view.found.length;
  const range = all > PAGE ? `${first + 1}–${last} of ${all}` : `${all}`;
  const filtered = all === cells.length ? "" : `, of ${cells.length} in all`;
  document.getElementById("count").textContent = `${range} cell${all === 1 ? "" : "s"}${filtered}`;
  document.getElementById("pages").hidden = all <= PAGE;
  document.getElementById("previous").disabled = first === 0;
  document.getElementById("next").disabled = last >= all;
  document.getElementById("empty").hidden = all > 0;
}

function renderRow(cell) {
  const open = (event) => {
    // A link does it by itself; who selects text wants the text.
    if (!event.target.closest("a") && !String(getSelection())) location.hash = anchorOf(cell.id);
  };
  return el("tr", { on: { click: open } }, ...data.columns.map((column) => renderCell(cell, column)));
}

function renderCell(cell, column) {
  const value = cell[column.field], kind = kindOf(column);
  if (column.field === "title") {
    const link = el("a", { href: anchorOf(cell.id) }, value);
    const aside = el("span", { class: "aside" }, [cell.dataset, cell.status].join(" · "));
    const seed = cell.repeat ? el("span", { class: "note" }, `seed ${cell.seed}`) : null;
    return el("th", { scope: "row", class: kind }, link, seed, aside);
  }
  if (column.field === "status") {
    const status = el("span", { class: `status ${value}`, title: cell.reason }, value);
    return el("td", { class: kind }, status);
  }
  if (!column.numeric) {
    const aside = column.field === "data_name" && value && !cell.data_official ? "not official" : "";
    return el("td", { class: kind }, value || "–", aside && el("span", { class: "note" }, aside));
  }
  if (value === null) {
    const reason = reasonFor(cell, column.field);
    return el("td", { class: `number absent ${kind}`, title: reason, "aria-label": reason }, "–");
  }
  const parts = [showNumber(value * column.scale, column.digits)];
  if (column.field === "accuracy_top1" && cell.accuracy_top1_low !== null) {
    const ends = [cell.accuracy_top1_low, cell.accuracy_top1_high].map((end) => end.toFixed(1));
    parts.push(el("span", { class: "note" }, ends.join("–")));
  }
  return el("td", { class: `number ${kind}` }, ...parts);
}

function sortBy(field, descending) {
  Object.assign(view, { field, descending });
  for (const header of document.querySelectorAll("#cells-table thead th")) {
    const sorted = header.dataset.field === field;
    header.setAttribute("aria-sort", !sorted ? "none" : descending ? "descending" : "ascending");
  }
  document.getElementById("sort").value = field ?? "";
  document.getElementById("direction").textContent = descending ? "falling" : "rising";
  refresh();
}

function askForColumns() {
  const boxes = [...document.querySelectorAll("#more-columns input")];
  for (const box of boxes) {
    const header = document.querySelector(`#cells-table th[data-field=${box.value}]`);
    header.classList.remove(kindOf(columns.get(box.value)));
    if (box.checked) asked.add(box.value);
    else asked.delete(box.value);
    header.classList.add(kindOf(columns.get(box.value)));
  }
  body.closest(".sheet").classList.toggle("scroller", asked.size > 0);
}

function turnPage(step) {
  view.page += step;
  renderRows();
  document.getElementById("cells").scrollIntoView();
}

function fillFacet(field) {
  const select = document.getElementById(`facet-${field}`);
  const counts = new Map();
  for (const cell of cells) if (cell[field]) counts.set(cell[field], (counts.get(cell[field]) || 0) + 1);
  const values = [...counts.keys()].sort(collator.compare);
  select.append(...values.map((value) => el("option", { value }, `${value} (${counts.get(value)})`)));
  select.addEventListener("change", () => { view.chosen[field] = select.value; refresh(); });
}

function moveFocus(event) {
  const step = NAVIGATION[event.key], row = event.target.closest("tbody tr");
  if (!step || !row) return;
  const next = step > 0 ? row.nextElementSibling : row.previousElementSibling;
  next?.querySelector("a").focus();
  event.preventDefault();
}

function startTable() {
  for (const field of data.facets) fillFacet(field);
  for (const box of document.querySelectorAll("#more-columns input")) {
    box.addEventListener("change", () => { askForColumns(); renderRows(); });
  }
  document.getElementById("search").addEventListener("input", (event) => {
    view.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    refresh();
  });
  for (const button of document.querySelectorAll("#cells-table thead button")) {
    const { field } = button.closest("th").dataset, { best } = columns.get(field);
    button.addEventListener("click", () =>
      sortBy(field, view.field === field ? !view.descending : best === "high"));
  }
  const sort = document.getElementById("sort");
  sort.addEventListener("change", () => sortBy(sort.value || null, columns.get(sort.value)?.best === "high"));
  document.getElementById("direction").addEventListener("click", () => sortBy(view.field, !view.descending));
  document.getElementById("clear").addEventListener("click", () => {
    document.getElementById("filters").reset();
    askForColumns();
    Object.assign(view, { words: [], chosen: {} });
    sortBy(null, false);
  });
  document.getElementById("more").addEventListener("click", (event) =>
    event.target.setAttribute("aria-expanded", document.getElementById("filters").classList.toggle("open")));
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("previous").addEventListener("click", () => turnPage(-1));
  document.getElementById("next").addEventListener("click", () => turnPage(1));
  body.addEventListener("keydown", moveFocus);
  refresh();
}
