// Everything about one record, in a panel of its own: what it took to get its figures.
const panel = document.getElementById("panel");
const GROUPS = [
  ["To run it again", ["command", "seed", "git_commit", "git_dirty", "settings_hash", "started", "duration_s"]],
  ["Images", ["data_name", "data_official", "data_sha256", "data_digest_of", "n_test", "image_size", "classes"]],
  ["Weights", ["weights_origin", "weights_sha256", "start", "epochs", "training_seconds", "training_precision"]],
  ["Machine", ["device", "device_name", "threads", "cores", "busy", "load"]],
];
// Said elsewhere on the panel.
const TAKEN = new Set(["schema", "dataset", "model", "label", "status", "reason", "not_measured", "history", "rows", "repeat"]);
const FOLDED = ["settings", "environment"];

// A few records a block: only the one that is asked for is parsed.
const parsed = new Map();
function parseOnce(id) {
  if (!parsed.has(id)) parsed.set(id, block(id));
  return parsed.get(id);
}

function detailsOf(cell) {
  const number = Math.floor(cell.index / data.per_block);
  const record = parseOnce(`details-${number}`)[cell.index % data.per_block];
  // Cells of the same settings share them, and a history is a list for each quantity.
  const settings = parseOnce("settings")[record.settings];
  const names = Object.keys(record.history ?? {});
  const history = names.length
    ? record.history[names[0]].map((_, epoch) => Object.fromEntries(names.map((name) => [name, record.history[name][epoch]])))
    : undefined;
  return { ...record, settings, history };
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

const flatten = (tree, prefix = "") =>
  Object.entries(tree).flatMap(([name, value]) =>
    isObject(value) ? flatten(value, `${prefix}${name}.`) : [[prefix + name, value]]);

const showValue = (value) => {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number" && !Number.isInteger(value)) {
    return el("span", { title: value }, String(Number(value.toPrecision(6))));
  }
  if (Array.isArray(value)) return value.map((item) => isObject(item) ? JSON.stringify(item) : item).join(", ") || "–";
  if (/^[0-9a-f]{12,}$/.test(value)) return el("code", {}, value);
  return value === null || value === "" ? "–" : String(value);
};

function renderFields(record, names) {
  const lines = names.flatMap((name) => {
    const value = record[name];
    if (isObject(value)) return flatten(value, `${name}.`);
    return value === undefined ? [] : [[name, value]];
  });
  const items = lines.flatMap(([name, value]) => {
    const meaning = data.meanings[name.split(".")[0]];
    return [el("dt", { title: meaning }, name), el("dd", {}, showValue(value))];
  });
  return items.length ? el("dl", {}, ...items) : null;
}

const renderGroup = (title, content) => content && el("section", {}, el("h3", {}, title), content);
const renderFold = (title, content) => content && el("details", {}, el("summary", {}, title), content);

function renderTable(entries) {
  const names = [...new Set(entries.flatMap(Object.keys))];
  const head = el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name)));
  const rows = entries.map((entry) =>
    el("tr", {}, ...names.map((name) => el("td", {}, showValue(entry[name] ?? null)))));
  return el("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "table" },
    el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
}

function renderPublished(record) {
  const published = data.published[`${record.dataset}/${record.model}`];
  const { label, ...figures } = published || {};
  return published && renderGroup(`Published for “${label}”`, renderFields(figures, Object.keys(figures)));
}

function renderCommand(record) {
  const copy = (event) => {
    navigator.clipboard?.writeText(record.command);
    event.target.textContent = "copied";
  };
  return record.command && el("div", { class: "command" }, el("code", {}, record.command),
    el("button", { type: "button", on: { click: copy } }, "copy"));
}

const renderPicture = (path, words) =>
  el("img", { src: path, alt: words, loading: "lazy", on: { error: (event) => event.target.remove() } });

function renderLinks(files) {
  const links = files.map(([words, path]) => el("a", { href: path }, words));
  return el("p", { class: "links" }, ...links);
}

function renderRecord(record, files, pictures) {
  const named = new Set([...GROUPS.flatMap(([, names]) => names), ...TAKEN, ...FOLDED]);
  const rest = Object.keys(record).filter((name) => !named.has(name));
  const measured = rest.filter((name) => typeof record[name] === "number");
  const lists = rest.filter((name) => Array.isArray(record[name]) && isObject(record[name][0]));
  const other = rest.filter((name) => !measured.includes(name) && !lists.includes(name));
  return [
    record.reason && el("p", { class: "reason" }, record.reason),
    renderCommand(record),
    ...GROUPS.map(([title, names]) => renderGroup(title, renderFields(record, names.slice(names[0] === "command")))),
    renderGroup("Measured", renderFields(record, [...measured, ...other])),
    record.not_measured && renderGroup("Not measured", renderFields(record.not_measured, Object.keys(record.not_measured))),
    renderPublished(record),
    ...pictures,
    record.history && renderFold("history", renderTable(record.history)),
    ...lists.map((name) => renderFold(name, renderTable(record[name]))),
    ...FOLDED.map((name) => renderFold(name, record[name] && renderFields({ ...record[name] }, Object.keys(record[name])))),
    renderLinks(files),
  ];
}

function openCell(cell) {
  const record = detailsOf(cell), stem = cell.stem;
  const files = [["record", fileLink("records", cell.dataset, `${stem}.json`)]];
  const pictures = [];
  if (record.history && !cell.repeat) {
    files.push(["training as CSV", fileLink("training", cell.dataset, `${stem}.csv`)]);
    pictures.push(renderPicture(fileLink("figures", cell.dataset, `${stem}-training.svg`), "loss and accuracy over epochs"));
  }
  if (cell.accuracy_top1 !== null && !cell.repeat) {
    files.push(["confusion matrix as CSV", fileLink("confusion", cell.dataset, `${stem}.csv`)]);
    pictures.push(renderPicture(fileLink("figures", cell.dataset, `${stem}-confusion.svg`), "confusion matrix"));
  }
  const where = [cell.dataset, cell.device, cell.status, ...(cell.repeat ? [`seed ${cell.seed}`] : [])];
  const title = [cell.title, el("span", { class: "aside" }, where.join(" · "))];
  show(title, renderRecord(record, files, pictures));
}

// What is no cell: a comparison of latencies, or costs that were counted.
function openSource(id, record) {
  const kind = id.startsWith("latency/") ? "Latency side by side" : `${record.label}, costs counted`;
  const where = record.device_name ?? `${record.image_size} pixels`;
  const title = [kind, el("span", { class: "aside" }, `${record.dataset} · ${where}`)];
  const rows = record.rows && renderFold("rows", renderTable(record.rows));
  show(title, [...renderRecord(record, [["record", fileLink(...`${id}.json`.split("/"))]], []), rows]);
}

function show(title, content) {
  document.getElementById("panel-title").replaceChildren(...title);
  document.getElementById("panel-body").replaceChildren(...content.filter(Boolean));
  if (!panel.open) panel.showModal();
  panel.scrollTop = 0;
}

const sources = new Map(Object.entries(block("sources")));

const idOf = (anchor) => {
  try {
    return anchor.slice(1).split("/").map(decodeURIComponent).join("/");
  } catch {
    return ""; // somebody's own "%"
  }
};

function followAddress() {
  const id = idOf(location.hash);
  // A data set may be called latency: cells come first.
  if (cellsById.has(id)) openCell(cellsById.get(id));
  else if (sources.has(id)) openSource(id, sources.get(id));
  else if (panel.open) panel.close();
}

function startPanel() {
  document.getElementById("close").addEventListener("click", () => panel.close());
  panel.addEventListener("click", (event) => { if (event.target === panel) panel.close(); });
  panel.addEventListener("close", () => {
    const from = location.hash;
    history.replaceState(null, "", location.pathname + location.search);
    document.querySelector(`#rows a[href="${CSS.escape(from)}"]`)?.focus({ preventScroll: true });
  });
  window.addEventListener("hashchange", followAddress);
  followAddress();
}
