// Graphs and charts as SVG. Positions come from dagre; every text is set as text, never parsed as markup.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element with attributes and children; strings become text. */
function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function shortened(text, length) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

/**
 * A directed graph of links. A node is {id, href, above, label, below, title, chosen}, an edge [from, to] of ids.
 * Nodes stand from left to right, and from top to bottom where the window is narrow.
 */
function graphOf(nodes, edges, label) {
  const graph = new dagre.graphlib.Graph();
  const narrow = window.innerWidth < 640;
  graph.setGraph({ rankdir: narrow ? "TB" : "LR", nodesep: 14, ranksep: narrow ? 34 : 56, marginx: 12, marginy: 12 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const node of nodes) {
    const longest = Math.max(node.label.length * 7.6, (node.above || "").length * 6.2, (node.below || "").length * 6.8);
    const lines = 1 + Boolean(node.above) + Boolean(node.below);
    graph.setNode(node.id, { width: Math.max(70, longest + 20), height: 12 + 17 * lines });
  }
  for (const [from, to] of edges) graph.setEdge(from, to);
  dagre.layout(graph);
  const { width, height } = graph.graph();
  const arrow = draw(
    "marker",
    { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
    draw("path", { d: "M0 0 8 4 0 8z" }),
  );
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label });
  svg.append(draw("defs", {}, arrow));
  for (const edge of graph.edges()) {
    const points = graph.edge(edge).points.map(({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`);
    svg.append(draw("path", { d: `M${points.join(" L")}`, "marker-end": "url(#arrow)" }));
  }
  for (const node of nodes) {
    const place = graph.node(node.id);
    const left = place.x - place.width / 2;
    const top = place.y - place.height / 2;
    const link = draw("a", { href: node.href, class: node.chosen ? "chosen" : "" });
    link.append(draw("title", {}, node.title || node.label));
    link.append(draw("rect", { x: left, y: top, width: place.width, height: place.height, rx: 6 }));
    let line = top + 4;
    for (const [kind, text] of [["above", node.above], ["label", node.label], ["below", node.below]]) {
      if (!text) continue;
      line += 16;
      link.append(draw("text", { x: left + 10, y: line, class: kind }, text));
    }
    svg.append(link);
  }
  const frame = document.createElement("div");
  frame.className = "graph";
  frame.append(svg);
  return frame;
}

/**
 * Bars over time. A value is {at, value, part, title}: of a bar `part` has the colour of the class `ofPart`, and one
 * without a value is a gap. `says` replaces the last value in the caption, `none` is the caption without any value.
 */
function chartOf(heading, values, { unit = "", small = false, ofPart = "bad", says = "", none = "nothing yet" } = {}) {
  const figure = document.createElement("figure");
  figure.className = "chart";
  const caption = document.createElement("figcaption");
  figure.append(caption);
  const known = values.filter(({ value }) => value !== null && value !== undefined);
  if (!known.length) {
    caption.textContent = `${heading}: ${none}`;
    return figure;
  }
  const most = Math.max(...known.map(({ value }) => value));
  caption.textContent = `${heading}: ${says || `last ${known[known.length - 1].value.toLocaleString("en")}${unit}`}`;
  const [width, height, foot] = small ? [140, 52, 14] : [320, 90, 14];
  const step = width / Math.max(values.length, 8);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height + foot}`, role: "img", "aria-label": caption.textContent });
  values.forEach(({ at, value, part = 0, title }, number) => {
    if (value === null || value === undefined) return;
    const size = most ? (value / most) * (height - 12) : 0;
    const ofSize = most ? (part / most) * (height - 12) : 0;
    const x = number * step + 1;
    const bar = draw("g", {}, draw("title", {}, title || `${at}: ${value.toLocaleString("en")}${unit}`));
    bar.append(draw("rect", { x, y: height - Math.max(size, 1), width: Math.max(step - 2, 1), height: Math.max(size, 1) }));
    if (ofSize) {
      bar.append(draw("rect", { x, y: height - ofSize, width: Math.max(step - 2, 1), height: ofSize, class: ofPart }));
    }
    svg.append(bar);
  });
  svg.append(draw("text", { x: 1, y: 9 }, `most ${most.toLocaleString("en")}${unit}`));
  svg.append(draw("text", { x: 1, y: height + 12 }, values[0].at.slice(0, 16)));
  if (values.length > 1) {
    const last = values[values.length - 1];
    svg.append(draw("text", { x: width - 1, y: height + 12, "text-anchor": "end" }, last.at.slice(0, 16)));
  }
  figure.append(svg);
  return figure;
}
