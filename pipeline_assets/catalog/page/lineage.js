// The page of a column: its lineage from source to export, drawn and listed, with the expression at every hop.
"use strict";

const MOST_DRAWN = 120; // nodes of a graph; more cannot be read

const columnId = (number, name) => `${number} ${name}`;

/** For each column the columns that are computed from it; made when a column is first opened. */
function consumers() {
  if (!catalog.consumers) {
    catalog.consumers = new Map();
    catalog.datasets.forEach(({ columns }, number) => {
      for (const [name, , , , inputs] of columns) {
        for (const [from, column] of inputs) {
          const id = columnId(from, column);
          if (!catalog.consumers.has(id)) catalog.consumers.set(id, []);
          catalog.consumers.get(id).push([number, name]);
        }
      }
    });
  }
  return catalog.consumers;
}

function columnOf(number, name) {
  return catalog.datasets[number].columns.find(([column]) => column === name);
}

/** The columns on one side of a column, nearest first, with the edges between them. */
function reached(start, next) {
  const found = new Map([[columnId(...start), start]]);
  const edges = [];
  for (const each of found.values()) {
    for (const other of next(...each)) {
      edges.push([each, other]);
      found.set(columnId(...other), other);
    }
  }
  return { columns: [...found.values()].slice(1), edges };
}

async function columnPage(number, name) {
  const dataset = catalog.datasets[number];
  const [, type, letters, description] = columnOf(number, name);
  const before = reached([number, name], (from, column) => columnOf(from, column)[4]);
  const after = reached([number, name], (from, column) => consumers().get(columnId(from, column)) || []);
  const nearest = [[number, name], ...before.columns.slice(0, MOST_DRAWN / 2), ...after.columns.slice(0, MOST_DRAWN / 2)];
  const all = 1 + before.columns.length + after.columns.length;
  const needed = [...new Set(nearest.map(([each]) => each))];
  const more = new Map(await Promise.all(needed.map(async (each) => [each, await details(each)])));
  const drawn = new Set(nearest.map((each) => columnId(...each)));
  const nodes = nearest.map(([each, column]) => {
    const steps = more.get(each).steps[column] || [];
    const below = more.get(each).origins[column] || (steps.length ? steps[0][2] : "");
    return {
      id: columnId(each, column),
      href: `#/${columnRoute(each, column).map(encodeURIComponent).join("/")}`,
      above: `${catalog.datasets[each].key} · ${catalog.datasets[each].kind}`,
      label: column,
      below: below === column ? "" : shortened(below.replace(/\s+/g, " "), 36),
      title: `${catalog.datasets[each].key}.${column}\n${below}`,
      chosen: each === number && column === name,
    };
  });
  const edges = [
    ...before.edges.map(([to, from]) => [columnId(...from), columnId(...to)]),
    ...after.edges.map(([from, to]) => [columnId(...from), columnId(...to)]),
  ].filter(([from, to]) => drawn.has(from) && drawn.has(to));
  const hop = ([each, column]) => {
    const chosen = each === number && column === name;
    const steps = more.get(each).steps[column] || [];
    const counted = !columnOf(each, column)[4].length && steps.length > 0 && !more.get(each).origins[column];
    return h(
      "li",
      { class: chosen && "chosen" },
      h("strong", {}, link(columnRoute(each, column), column)),
      " of ",
      datasetLink(each),
      h("span", { class: "muted" }, ` (${catalog.datasets[each].kind})`),
      steps.map(([of, made, expression]) => h("code", {}, `${of ? `${of}.` : ""}${made} = ${expression}`)),
      more.get(each).origins[column] && h("div", { class: "muted" }, more.get(each).origins[column]),
      counted && h("div", { class: "muted" }, "Read from no column: a constant, or a count of rows of ", listed(catalog.datasets[each].reads), "."),
    );
  };
  const upstream = before.columns.filter((each) => drawn.has(columnId(...each))).reverse();
  const downstream = after.columns.filter((each) => drawn.has(columnId(...each)));
  return [
    h("h1", { tabindex: "-1" }, `${dataset.key}.${name}`),
    h("p", {}, h("code", {}, type), " ", marks(letters), description),
    h("p", {}, "A column of ", datasetLink(number), `, ${dataset.kind}: ${dataset.grain}`),
    section("Lineage", all > nearest.length && h("p", {}, `The nearest ${nearest.length} of ${all} columns are shown.`)),
    graphOf(nodes, edges, `Lineage of ${name}`),
    section("From the source to this column", h("ol", { class: "hops" }, [...upstream, [number, name]].map(hop))),
    section(
      "Where it goes",
      downstream.length ? h("ol", { class: "hops" }, downstream.map(hop)) : h("p", { class: "muted" }, "No column is computed from it."),
    ),
  ];
}
