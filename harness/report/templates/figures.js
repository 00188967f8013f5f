// Accuracy against cost, drawn by plotly.js once the figure comes into view; the picture made by
// matplotlib stands there until then, and where plotly.js is not to be had.
const chart = document.getElementById("chart");
const picture = document.getElementById("picture");
const COLOURS = ["--series-0", "--series-1", "--series-2", "--series-3"];
const MOST_NAMED = 15;
const LARGEST_PIXELS = 72;
const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
// plotly.js reads a little markup in texts.
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;");
const isNarrow = () => matchMedia("(max-width: 700px)").matches;
const namedIf = (marks) => marks.length > MOST_NAMED || isNarrow() ? "markers" : "markers+text";
const chosenFigure = () => ({
  dataset: document.getElementById("figure-dataset").value,
  cost: data.costs.find((cost) => cost.name === document.querySelector("input[name=cost]:checked").value),
});

const describePoint = (cell, cost) => [
  `<b>${plain(cell.title)}</b>`,
  `${showNumber(cell.accuracy_top1, 2)}% (${cell.accuracy_top1_low?.toFixed(1)}–${cell.accuracy_top1_high?.toFixed(1)})`,
  `${plain(cost.title)}: ${Number(cell[cost.field].toPrecision(4))}`,
  ...(cost.sized && cell.weights_mb !== null ? [`size: ${showNumber(cell.weights_mb, 2)} MB`] : []),
  `${plain(cell.device)}, ${plain(cell.data_name)}`,
].join("<br>");

function measuredTrace(group, cost, colour) {
  const members = group.rows.map((index) => cells[index]);
  const from = (field) => members.map((cell) => cell[field]);
  const gap = (end, sign) => members.map((cell) => sign * ((cell[end] ?? cell.accuracy_top1) - cell.accuracy_top1));
  return {
    type: "scatter", mode: namedIf(members), textposition: "top right",
    name: group.name ? `measured (${plain(group.name)})` : "measured",
    x: from(cost.field), y: from("accuracy_top1"), customdata: from("id"), text: from("title").map(plain),
    hovertext: members.map((cell) => describePoint(cell, cost)), hoverinfo: "text",
    marker: { color: colour, size: 9 },
    error_y: { type: "data", symmetric: false, array: gap("accuracy_top1_high", 1),
      arrayminus: gap("accuracy_top1_low", -1), color: colour, thickness: 1, width: 0 },
  };
}

// The area around each mark is the size of the weights.
function sizeTrace(group, cost, colour, largest) {
  const members = group.rows.map((index) => cells[index]);
  return {
    type: "scatter", mode: "markers", hoverinfo: "skip", showlegend: false,
    x: members.map((cell) => cell[cost.field]), y: members.map((cell) => cell.accuracy_top1),
    marker: { size: members.map((cell) => cell.weights_mb ?? 0), sizemode: "area",
      sizeref: 2 * largest / LARGEST_PIXELS ** 2, color: colour, opacity: 0.2, line: { width: 0 } },
  };
}

function frontTrace(group, cost, colour, end) {
  const members = group.front.map((index) => cells[index]), last = members.at(-1);
  return {
    type: "scatter", mode: "lines", name: "Pareto front", hoverinfo: "skip",
    x: [...members.map((cell) => cell[cost.field]), end],
    y: [...members, last].map((cell) => cell.accuracy_top1),
    line: { shape: "hv", dash: "dash", width: 1.2, color: colour },
  };
}

function publishedTrace(published, cost) {
  const how = cost.published_as ? ` (${cost.published_as})` : "", colour = colourOf("--faint");
  const hover = (cell, end) => `<b>${plain(cell.label)}</b>, published<br>${cell.accuracy}%<br>${cost.title}: ${end}`;
  const points = published.flatMap((cell) => {
    const range = cell.low === cell.high ? [] : [[cell.low, cell.accuracy, hover(cell, cell.low), ""]];
    // A gap ends the line that joins the ends of a range.
    return [...range, [cell.high, cell.accuracy, hover(cell, cell.high), plain(cell.label)], [null, null, "", ""]];
  });
  const [x, y, hovertext, text] = [0, 1, 2, 3].map((place) => points.map((point) => point[place]));
  return {
    type: "scatter", mode: `lines+${namedIf(published)}`, name: `published${how}`, hoverinfo: "text",
    x, y, hovertext, text, textposition: "top right", textfont: { size: 11, color: colour },
    line: { color: colour, width: 1 },
    marker: { symbol: "circle-open", size: 9, color: colour, line: { width: 1.5 } },
  };
}

// The range of costs on the axis, with room for names.
function reachOf(figure, cost) {
  const costs = figure.groups.flatMap((group) => group.rows.map((index) => cells[index][cost.field]));
  costs.push(...figure.published.flatMap((cell) => [cell.low, cell.high]));
  const ends = costs.reduce(([low, high], each) => [Math.min(low, each), Math.max(high, each)], [Infinity, 0]);
  const [low, high] = ends.map(Math.log10), margin = 0.05 + 0.07 * (high - low);
  return [low - margin, high + 2 * margin];
}

function ticksOf([low, high]) {
  const steps = !isNarrow() && high - low < 6 ? [1, 2, 5] : high - low < 2 ? [1, 3] : [1];
  const tens = Array.from({ length: Math.ceil(high) - Math.floor(low) + 1 }, (_, place) => Math.floor(low) + place);
  const values = tens.flatMap((ten) => steps.map((step) => Number(`${step}e${ten}`)));
  return { tickvals: values, ticktext: values.map(String) };
}

function layoutOf(cost, reach) {
  const [ink, line, surface] = ["--ink", "--line", "--surface"].map(colourOf);
  const axis = { gridcolor: line, zeroline: false, linecolor: line, automargin: true };
  const title = isNarrow() ? cost.title : cost.label;
  return {
    autosize: true, height: 480, margin: { l: 56, r: 16, t: 8, b: 48 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
    font: { family: "system-ui, sans-serif", size: 13, color: ink },
    hoverlabel: { bgcolor: surface, bordercolor: line, font: { color: ink }, align: "left" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colourOf("--faint"), activecolor: ink },
    xaxis: { ...axis, type: "log", range: reach, ...ticksOf(reach), title: { text: title } },
    yaxis: { ...axis, title: { text: "top-1 accuracy, %" } },
    legend: { orientation: "h", y: -0.16, yanchor: "top", x: 0 },
  };
}

function draw() {
  const { dataset, cost } = chosenFigure(), figure = data.figures[dataset][cost.name];
  document.getElementById("no-figure").hidden = Boolean(figure);
  picture.hidden = chart.hidden = !figure;
  if (!figure) return;
  chart.hidden = !window.Plotly;
  picture.src = fileLink("figures", dataset, `accuracy-${cost.name}.svg`);
  picture.alt = `${dataset}: accuracy against ${cost.title}`;
  if (!window.Plotly) return;
  const reach = reachOf(figure, cost);
  const traces = figure.published.length ? [publishedTrace(figure.published, cost)] : [];
  const sizes = figure.groups.flatMap((group) => group.rows.map((index) => cells[index].weights_mb ?? 0));
  figure.groups.forEach((group, place) => {
    const colour = colourOf(COLOURS[place % COLOURS.length]);
    if (cost.sized && sizes.some(Boolean)) traces.push(sizeTrace(group, cost, colour, Math.max(...sizes)));
    traces.push(frontTrace(group, cost, colour, 10 ** reach[1]), measuredTrace(group, cost, colour));
  });
  window.Plotly.react(chart, traces, layoutOf(cost, reach), {
    displaylogo: false, responsive: true, displayModeBar: isNarrow() ? false : "hover",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
  });
  picture.hidden = true;
}

function loadPlotly() {
  const ready = () => {
    draw();
    chart.on("plotly_click", (event) => {
      const id = event.points[0].customdata;
      if (id) location.hash = anchorOf(id);
    });
  };
  document.head.append(el("script", { src: data.plotly, on: { load: ready } }));
}

function startFigures() {
  if (!chart) return;
  for (const control of document.querySelectorAll("#figure-controls select, #figure-controls input")) {
    control.addEventListener("change", draw);
  }
  for (const query of ["(prefers-color-scheme: dark)", "(max-width: 700px)"]) {
    matchMedia(query).addEventListener("change", draw);
  }
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    loadPlotly();
  }, { rootMargin: "400px" }).observe(document.getElementById("figures"));
  draw();
}
