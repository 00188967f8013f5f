// The scatter of the zoo: two figures that are chosen, points that are filtered, the best as a line.
const { figures, points } = JSON.parse(document.getElementById("data").textContent);
const FIRST = 3, MOST_LISTED = 200, EDGE = { left: 70, right: 20, top: 15, bottom: 50 };
const COLOURS = { torchvision: "var(--series-0)", timm: "var(--series-1)", hf: "var(--series-2)" };
const place = Object.fromEntries(figures.map((figure, index) => [figure.field, index]));
const byId = (id) => document.getElementById(id);
const value = (point, index) => point[FIRST + index] === null ? null : point[FIRST + index] * figures[index].scale;
const short = (number) => number === null ? "–" : String(Number(number.toPrecision(4)));

function svg(tag, attributes, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, each] of Object.entries(attributes)) node.setAttribute(name, each);
  node.textContent = text;
  return node;
}

function chosen() {
  const limit = (id, missing) => byId(id).value === "" ? missing : Number(byId(id).value);
  const most = [["params", limit("most-params", Infinity)], ["gmacs", limit("most-gmacs", Infinity)]];
  const least = limit("least-top1", null), name = byId("name").value.toLowerCase();
  const sources = new Set([...document.querySelectorAll("#sources input:checked")].map((box) => box.value));
  return points.filter((point) =>
    sources.has(point[1]) && point[0].toLowerCase().includes(name)
    && most.every(([field, end]) => value(point, place[field]) <= end)
    && (least === null || (value(point, place.published_top1) ?? -1) >= least));
}

// Accuracies are shown as they are, all else by its logarithm.
function makeScale(values, from, to, linear) {
  const turn = linear ? (number) => number : Math.log10;
  let [low, high] = [Math.min(...values), Math.max(...values)].map(turn);
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const at = (number) => from + (turn(number) - low) / (high - low) * (to - from);
  const steps = linear ? [1, 2, 5, 10, 20].find((step) => (high - low) / step <= 8) : 1;
  const ticks = [];
  if (linear) for (let tick = Math.ceil(low / steps) * steps; tick <= high; tick += steps) ticks.push(tick);
  else for (let power = Math.floor(low); power <= high; power += 1) {
    const factors = high - low < 4 ? [1, 2, 5] : [1];
    for (const factor of factors) if (turn(factor * 10 ** power) >= low && turn(factor * 10 ** power) <= high) ticks.push(factor * 10 ** power);
  }
  return { at, ticks };
}

function draw() {
  const [x, y] = [Number(byId("x").value), Number(byId("y").value)];
  const kept = chosen(), linear = (index) => figures[index].field === "published_top1";
  const drawable = (point, index) => value(point, index) !== null && (linear(index) || value(point, index) > 0);
  const shown = kept.filter((point) => drawable(point, x) && drawable(point, y));
  const left = kept.length - shown.length;
  byId("told").textContent = `${shown.length} of ${points.length} models shown`
    + (left ? `; ${left} chosen ones lack one of the two figures` : "");
  const chart = byId("chart"), { width, height } = chart.getBoundingClientRect();
  chart.replaceChildren();
  if (shown.length) {
    const across = makeScale(shown.map((point) => value(point, x)), EDGE.left, width - EDGE.right, linear(x));
    const up = makeScale(shown.map((point) => value(point, y)), height - EDGE.bottom, EDGE.top, linear(y));
    drawAxes(chart, across, up, width, height, figures[x].name, figures[y].name);
    if (linear(y)) drawFront(chart, shown, x, y, across, up);
    for (const point of shown) drawPoint(chart, point, across.at(value(point, x)), up.at(value(point, y)));
  }
  list(kept, x, y);
}

function drawAxes(chart, across, up, width, height, xName, yName) {
  const bottom = height - EDGE.bottom;
  for (const tick of across.ticks) {
    chart.append(svg("line", { class: "grid", x1: across.at(tick), x2: across.at(tick), y1: EDGE.top, y2: bottom }),
      svg("text", { x: across.at(tick), y: bottom + 18, "text-anchor": "middle" }, short(tick)));
  }
  for (const tick of up.ticks) {
    chart.append(svg("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: up.at(tick), y2: up.at(tick) }),
      svg("text", { x: EDGE.left - 8, y: up.at(tick) + 4, "text-anchor": "end" }, short(tick)));
  }
  const middle = (EDGE.top + bottom) / 2;
  chart.append(svg("text", { x: (EDGE.left + width - EDGE.right) / 2, y: height - 10, "text-anchor": "middle" }, xName),
    svg("text", { x: 16, y: middle, "text-anchor": "middle", transform: `rotate(-90 16 ${middle})` }, yName));
}

// The line through the models that no other beats in both figures.
function drawFront(chart, shown, x, y, across, up) {
  let best = -Infinity, path = "";
  for (const point of [...shown].sort((a, b) => value(a, x) - value(b, x) || value(b, y) - value(a, y))) {
    if (value(point, y) <= best) continue;
    const [px, py] = [across.at(value(point, x)), up.at(value(point, y))];
    path += path ? `H${px}V${py}` : `M${px} ${py}`;
    best = value(point, y);
  }
  chart.append(svg("path", { class: "front", d: path }));
}

function drawPoint(chart, point, cx, cy) {
  const circle = svg("circle", { cx, cy, r: 4.5, tabindex: 0, fill: COLOURS[point[1]] });
  const told = [point[0], ...figures.map((figure, index) => `${figure.name}: ${short(value(point, index))}`), point[2] ?? ""];
  circle.append(svg("title", {}, told.join("\n")));
  chart.append(circle);
}

function list(kept, x, y) {
  const columns = [...new Set([place.params, place.gmacs, place.traffic_mb, place.peak_activations_mb, place.published_top1, x, y])];
  const line = (tag, texts) => {
    const row = document.createElement("tr");
    for (const text of texts) row.append(Object.assign(document.createElement(tag), { textContent: text }));
    return row;
  };
  byId("head").replaceChildren(line("th", ["", ...columns.map((index) => figures[index].name)]));
  const sorted = [...kept].sort((a, b) => (value(a, x) ?? Infinity) - (value(b, x) ?? Infinity)).slice(0, MOST_LISTED);
  byId("rows").replaceChildren(...sorted.map((point) => line("td", [point[0], ...columns.map((index) => short(value(point, index)))])));
  byId("listed").textContent = kept.length > MOST_LISTED ? `the first ${MOST_LISTED} of ${kept.length}` : `${kept.length}`;
}

for (const [id, field] of [["x", "gmacs"], ["y", points.some((point) => point.at(-1) !== null) ? "published_top1" : "params"]]) {
  figures.forEach((figure, index) => byId(id).append(new Option(figure.name, index, false, figure.field === field)));
}
for (const source of new Set(points.map((point) => point[1]))) {
  const label = document.createElement("label"), box = document.createElement("input");
  Object.assign(box, { type: "checkbox", value: source, checked: true });
  const word = Object.assign(document.createElement("span"), { textContent: source });
  word.style.color = COLOURS[source];
  label.append(box, word);
  byId("sources").append(label);
}
byId("filters").addEventListener("input", draw);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
addEventListener("resize", draw);
draw();
