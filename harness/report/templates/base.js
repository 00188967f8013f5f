// What all parts share. Texts of records go in as text, never as markup.
const block = (id) => JSON.parse(document.getElementById(id).textContent);

const el = (tag, properties = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

const showNumber = (value, digits) => {
  const text = value.toFixed(digits);
  // A small figure is not none at all.
  return value !== 0 && Number(text) === 0 ? value.toPrecision(2) : text;
};

// Each part of a path is encoded: a name may hold anything.
const fileLink = (...parts) => parts.map(encodeURIComponent).join("/");
const anchorOf = (id) => "#" + id.split("/").map(encodeURIComponent).join("/");

const data = block("data");
const cells = data.rows.map((values, index) => {
  const cell = Object.fromEntries(data.fields.map((name, place) => [name, values[place]]));
  return Object.assign(cell, { index, id: `${cell.dataset}/${cell.stem}` });
});
const cellsById = new Map(cells.map((cell) => [cell.id, cell]));
const reasonFor = (cell, field) => {
  const place = cell.why[field];
  return place === undefined ? cell.reason || "not measured" : data.reasons[place];
};
