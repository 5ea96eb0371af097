// The pages of the catalog. `catalogData` receives the data, which are scripts, as a page from disk may not fetch.
// Every text is set as text, never parsed as markup, so a description that looks like HTML is only a description.
"use strict";

const MOST_FOUND = 200; // results of a search that are listed
const DATE = /^\d{4}-\d\d-\d\d( \d\d:\d\d(:\d\d)?)?( UTC)?$/;
const MARKS = { k: "key", r: "required", p: "personal" };
const main = document.getElementById("main");
const search = document.getElementById("search");
const site = document.currentScript.src.replace(/[^/]*$/, "");
const received = new Map();
let catalog;
let shown; // the address of the page that is drawn

function catalogData(name, value) {
  if (name === "catalog") start(value);
  else received.set(name, value);
}

/** The details of a dataset; their script is loaded once. */
function details(number) {
  if (received.has(number)) return Promise.resolve(received.get(number));
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `${site}data/${number}.js`;
    script.onload = () => resolve(received.get(number));
    script.onerror = () => reject(new Error("This catalog was replaced by a newer one. Load the page again."));
    document.head.append(script);
  });
}

// --- building blocks ---------------------------------------------------------------------------------------

/** An element with attributes and children; strings become text, and empty children are left out. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value) element.setAttribute(name, value);
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

function bytes(size) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; size >= 1000 && unit < units.length - 1; unit += 1) size /= 1000;
  return `${size.toLocaleString("en", { maximumFractionDigits: 1 })} ${units[unit]}`;
}

/** A UTC time with its age at the moment of reading. */
function moment(text) {
  const hours = hoursSince(text);
  const age = hours < 1 ? "less than an hour" : hours < 48 ? count(Math.floor(hours), "hour") : count(Math.floor(hours / 24), "day");
  return `${text} UTC (${age} ago)`;
}

function hoursSince(text) {
  return (Date.now() - Date.parse(`${text.replace(" ", "T")}Z`)) / 3600000;
}

/** A table; a cell is a text, a number or an element. */
function table(titles, rows, stacked = false) {
  const cell = (value, place) => {
    const empty = value === null || value === undefined;
    const text = typeof value === "number" ? value.toLocaleString("en") : empty ? "" : value;
    const kind = typeof value === "number" ? "number" : DATE.test(value) && "time";
    return h("td", { class: kind, "data-title": titles[place] }, text);
  };
  return h(
    "div",
    { class: "wide" },
    h(
      "table",
      { class: stacked && "stacked" },
      h("thead", {}, h("tr", {}, titles.map((title) => h("th", { scope: "col" }, title)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map(cell)))),
    ),
  );
}

function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", {}, shown.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function link(route, text) {
  return h("a", { href: `#/${route.map(encodeURIComponent).join("/")}` }, text);
}

function datasetLink(number) {
  const { key } = catalog.datasets[number];
  return link(["dataset", ...key.split("/")], key);
}

/** Links of datasets with commas between them; `behind` has what follows each. */
function listed(numbers, behind = () => "") {
  return h("span", {}, numbers.map((number, place) => [place ? ", " : "", datasetLink(number), behind(number)]));
}

function columnRoute(number, name) {
  return ["column", ...catalog.datasets[number].key.split("/"), name];
}

function marks(letters) {
  return [...letters].map((letter) => h("span", { class: `mark ${letter === "p" ? "warn" : ""}` }, MARKS[letter]));
}

function section(title, ...content) {
  return [h("h2", {}, title), ...content];
}

function result(rule) {
  if (rule.passed === undefined) return h("span", { class: "muted" }, "not evaluated yet");
  const kind = rule.passed ? "good" : rule.severity === "ERROR" ? "bad" : "warn";
  return h("span", { class: kind }, rule.passed ? "passed" : rule.severity === "ERROR" ? "failed" : "warning");
}

// --- pages -------------------------------------------------------------------------------------------------

function homePage() {
  const parts = [h("h1", { tabindex: "-1" }, "Datasets")];
  const loaded = catalog.datasets.some(({ at }) => at);
  if (!loaded) parts.push(h("p", { class: "warn" }, "Nothing has been loaded yet: there are no rows, results or times."));
  for (const pipeline of Object.keys(catalog.pipelines)) {
    const numbers = numbersOf(pipeline);
    parts.push(
      h("h2", {}, link(["pipeline", pipeline], pipeline)),
      table(
        ["Dataset", "Kind", "Rows", "Changed", "Grain"],
        numbers.map((number) => {
          const { kind, rows, at, grain, failed } = catalog.datasets[number];
          const failures = failed ? h("span", { class: "warn" }, ` ${count(failed, "check")} not passed`) : null;
          return [h("span", {}, datasetLink(number), failures), kind, rows, at && at.slice(0, 16), grain];
        }),
        true,
      ),
    );
  }
  return parts;
}

function numbersOf(pipeline) {
  return [...catalog.datasets.keys()].filter((number) => catalog.datasets[number].pipeline === pipeline);
}

function pipelinePage(pipeline) {
  const numbers = numbersOf(pipeline);
  const drawn = new Set(numbers.slice(0, MOST_DRAWN));
  const nodes = [...drawn].map((number) => {
    const { key, kind, rows } = catalog.datasets[number];
    const below = rows === null ? "" : count(rows, "row");
    const href = `#/dataset/${key.split("/").map(encodeURIComponent).join("/")}`;
    return { id: number, href, above: kind, label: key.split("/").pop(), below };
  });
  const edges = [...drawn].flatMap((number) =>
    catalog.datasets[number].reads.filter((from) => drawn.has(from)).map((from) => [from, number]),
  );
  return [
    h("h1", { tabindex: "-1" }, pipeline),
    numbers.length > drawn.size && h("p", {}, `The first ${drawn.size} of ${numbers.length} datasets are drawn.`),
    graphOf(nodes, edges, `Datasets of ${pipeline}`),
    section("Health", stateOf(pipeline), healthOf(pipeline)),
  ];
}

async function datasetPage(number) {
  const dataset = catalog.datasets[number];
  const more = await details(number);
  const { loaded } = more;
  const readBy = [...catalog.datasets.keys()].filter((other) => catalog.datasets[other].reads.includes(number));
  const parts = [
    h("h1", { tabindex: "-1" }, dataset.key),
    h("p", {}, more.description),
    facts([
      ["Kind", dataset.kind],
      ["Grain", dataset.grain],
      ["Location", h("code", {}, dataset.location)],
      ["Pipeline", link(["pipeline", dataset.pipeline], dataset.pipeline)],
      ["Contract", more.contract],
      ["Owner", dataset.owner],
      [dataset.kind === "export" ? "Contains" : "Write mode", more.write],
      ["Reads", dataset.reads.length ? listed(dataset.reads) : ""],
      ["Read by", readBy.length ? listed(readBy) : ""],
      ["Rows", dataset.rows === null ? "" : dataset.rows.toLocaleString("en")],
      ["Files", loaded.files && `${count(loaded.files, "file")} in ${count(loaded.partitions, "partition")}, ${bytes(loaded.bytes)}`],
      ["Last changed", loaded.changed && (dataset.kind === "export" ? moment(loaded.changed) : freshness(loaded.changed, "stale: nothing changed"))],
      ["Last file", loaded.file && h("code", {}, loaded.file)],
      ["Last arrival", loaded.arrived && freshness(loaded.arrived)],
      ["Newest object", loaded.modified && moment(loaded.modified)],
    ]),
    loaded.note && h("p", { class: "bad" }, loaded.note),
    (dataset.kind !== "source" || dataset.landed) && !loaded.changed && !loaded.rows && !loaded.arrived && h("p", { class: "muted" }, "Nothing has been loaded yet."),
    section(
      "Columns",
      table(
        ["Column", "Type", "", "Description", "Computed from"],
        dataset.columns.map(([name, type, letters, description, inputs]) => [
          link(columnRoute(number, name), name),
          h("code", {}, type),
          h("span", {}, marks(letters)),
          h("span", {}, description, accepted(more.accepted[name])),
          h(
            "span",
            {},
            inputs.map(([other, column], place) => [place ? ", " : "", link(columnRoute(other, column), `${catalog.datasets[other].key}.${column}`)]),
            !inputs.length && (more.origins[name] || (more.steps[name] ? h("code", {}, more.steps[name][0][2]) : "")),
          ),
        ]),
        true,
      ),
    ),
  ];
  if (more.rules.length) {
    parts.push(
      section(
        "Checks",
        table(
          ["Check", "Last result", "Evaluated", "Rule"],
          more.rules.map((rule) => [
            rule.name,
            h("span", {}, result(rule), rule.found ? `: ${rule.found}` : ""),
            rule.at && `${rule.at} UTC`,
            rule.description,
          ]),
          true,
        ),
      ),
    );
  }
  if (loaded.sample && loaded.sample.rows.length) {
    const note = "Some rows; personal values are masked.";
    parts.push(section("Sample", h("p", { class: "muted" }, note), table(loaded.sample.columns, loaded.sample.rows)));
  }
  const bars = (batches) => batches.map(({ at, rows }) => ({ at, value: rows }));
  const rowCharts = [
    loaded.counted && chartOf("Rows after each batch that changed it", bars(loaded.counted)),
    loaded.written && loaded.written.length > 0 && chartOf("Rows by the batch that wrote them", bars(loaded.written)),
  ];
  if (rowCharts.some(Boolean)) parts.push(section("Rows over time", h("div", { class: "charts" }, rowCharts)));
  if (loaded.batches && loaded.batches.length) parts.push(section("Batches", h("div", { class: "charts" }, batchCharts(loaded.batches))));
  if (loaded.objects && loaded.objects.length) {
    const names = ["Object", "Bytes", "Modified", "Status", "Records", "Loaded", "Superseded", "Quarantined"];
    const rows = loaded.objects.map((o) => [o.uri, o.bytes, o.modified, o.status, o.read, o.loaded, o.superseded, o.quarantined]);
    parts.push(section("Landed last", table(names, rows)));
  }
  if (more.sql) parts.push(section("SQL", h("p", { class: "muted" }, more.sqlName.endsWith(".sql") ? more.sqlName : "Every column of its source; no file has it."), h("pre", {}, h("code", {}, more.sql))));
  return parts;
}

function accepted(values) {
  return values ? ` One of ${values.join(", ")}.` : null;
}

/** A moment, with a warning if it is longer ago than PIPELINE_FRESHNESS_HOURS. */
function freshness(last, warning = "late: nothing arrived") {
  const late = hoursSince(last) > catalog.freshnessHours;
  const note = ` ${warning} for ${catalog.freshnessHours} hours`;
  return h("span", {}, moment(last), late && h("span", { class: "warn" }, note));
}

// --- batches, changes, reason codes ------------------------------------------------------------------------

function batchCharts(batches) {
  const values = (name, title) => batches.map((batch) => ({ at: batch.at, value: batch[name], title: title && title(batch) }));
  const rows = batches.map((batch) => ({
    at: batch.at,
    value: batch.read,
    part: batch.quarantined,
    title: `${batch.at}: ${batch.read} read, ${batch.loaded} loaded, ${batch.superseded} superseded, ${batch.quarantined} quarantined`,
  }));
  return [
    chartOf("Records read (red: quarantined)", rows),
    chartOf("Bytes", values("bytes", (batch) => `${batch.at}: ${bytes(batch.bytes)}`)),
    chartOf("Objects", values("objects", (batch) => `${batch.at}: ${batch.objects}, ${batch.rejected} of them rejected`)),
    batches.some(({ latency }) => latency !== null) && chartOf("Median time from delivery to commit", values("latency"), { unit: " s" }),
  ];
}

function changesPage() {
  const known = new Map(catalog.datasets.map(({ key }, number) => [key, number]));
  const named = ({ dataset, column }) => {
    const number = known.get(dataset);
    if (number === undefined) return `${dataset}${column && `.${column}`}`;
    return column && columnOf(number, column) ? link(columnRoute(number, column), `${dataset}.${column}`) : h("span", {}, datasetLink(number), column && `.${column}`);
  };
  return [
    h("h1", { tabindex: "-1" }, "Changes of contracts"),
    !catalog.changes.length && h("p", {}, "No contract has changed since the first catalog in this folder."),
    catalog.changes.map(({ at, found }) => section(`${at} UTC`, table(["Dataset or column", "Change"], found.map((each) => [named(each), each.what])))),
  ];
}

function reasonsPage() {
  return [
    h("h1", { tabindex: "-1" }, "Reason codes"),
    h("p", {}, "Why a record is in quarantine, or a whole object was rejected."),
    table(["Code", "Meaning"], Object.entries(catalog.reasons).map(([code, meaning]) => [h("code", {}, code), meaning]), true),
  ];
}

// --- search ------------------------------------------------------------------------------------------------

/** Every dataset and column as [text, number, column]; a name counts before a description. */
function searchable() {
  catalog.searchable ||= catalog.datasets.flatMap(({ key, location, grain, columns }, number) => [
    [`${key} ${location}\n${grain}`.toLowerCase(), number, null],
    ...columns.map((column) => [`${key}.${column[0]}\n${column[3]}`.toLowerCase(), number, column]),
  ]);
  return catalog.searchable;
}

function searchPage(query) {
  const terms = query.toLowerCase().split(/[\s./]+/).filter(Boolean);
  const found = searchable().filter(([text]) => terms.every((term) => text.includes(term)));
  const rank = ([text, number, column]) => {
    const name = (column ? column[0] : catalog.datasets[number].key.split("/").pop()).toLowerCase();
    if (terms.includes(name)) return column ? 1 : 0;
    return terms.every((term) => text.split("\n")[0].includes(term)) ? (column ? 3 : 2) : 4;
  };
  const ranked = found.map((entry) => [rank(entry), entry]).sort(([a], [b]) => a - b).slice(0, MOST_FOUND);
  return [
    h("h1", { tabindex: "-1" }, `${count(found.length, "result")} for ${query}`),
    found.length > MOST_FOUND && h("p", { class: "muted" }, `The first ${MOST_FOUND} are listed.`),
    h(
      "ul",
      { class: "results" },
      ranked.map(([, [, number, column]]) => {
        const { key, kind, grain } = catalog.datasets[number];
        const target = column ? link(columnRoute(number, column[0]), `${key}.${column[0]}`) : link(["dataset", ...key.split("/")], key);
        target.append(h("small", {}, column ? `${column[1]} · ${column[3]}` : `${kind} · ${grain}`));
        return h("li", {}, target);
      }),
    ),
  ];
}

search.addEventListener("input", () => {
  const address = search.value.trim() ? `#/search/${encodeURIComponent(search.value.trim())}` : "#/";
  // The first key leaves the page that was read in the history, the next ones replace each other.
  if (location.hash.startsWith("#/search/")) location.replace(address);
  else location.hash = address;
  if (catalog) show(); // before the next key, which may go to a result; hashchange may come after it
});

document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== search) {
    event.preventDefault();
    search.focus();
    search.select();
  }
  if (event.key === "Enter" && document.activeElement === search) {
    const first = document.querySelector(".results a");
    first?.focus();
    first?.click();
  }
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  const stops = [search, ...document.querySelectorAll(".results a")];
  const place = stops.indexOf(document.activeElement);
  const next = stops[place + (event.key === "ArrowDown" ? 1 : -1)];
  if (place >= 0 && next) {
    event.preventDefault();
    next.focus();
  }
});

// --- routes ------------------------------------------------------------------------------------------------

/** A name as the catalog writes it: people type addresses in any case. */
function spelled(name, names) {
  return names.find((each) => each === name) ?? names.find((each) => each.toLowerCase() === name.toLowerCase());
}

function pageOf(kind, rest) {
  const number = catalog.numbers.get(spelled(rest.slice(0, 2).join("/"), [...catalog.numbers.keys()]));
  if (!kind) return homePage();
  if (kind === "search") return searchPage(rest.join("/"));
  if (kind === "dataset" && number !== undefined) return datasetPage(number);
  if (kind === "column" && number !== undefined) {
    const column = spelled(rest[2] ?? "", catalog.datasets[number].columns.map(([name]) => name));
    if (column !== undefined) return columnPage(number, column);
  }
  if (kind === "pipeline" && Object.hasOwn(catalog.pipelines, rest[0])) return pipelinePage(rest[0]);
  const pages = { health: healthPage, changes: changesPage, reasons: reasonsPage };
  if (Object.hasOwn(pages, kind)) return pages[kind]();
  return [h("h1", { tabindex: "-1" }, "Nothing is here"), h("p", {}, "The catalog has no page of this address. ", link([""], "All datasets"))];
}

async function show() {
  const address = location.hash;
  let kind, rest, parts;
  try {
    [kind, ...rest] = address.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
    parts = await pageOf(kind, rest);
  } catch (error) {
    parts = [h("h1", { tabindex: "-1" }, "This page cannot be shown"), h("p", { class: "bad" }, error.message)];
  }
  if (address !== location.hash) return; // another page was asked for meanwhile
  main.replaceChildren(...parts.flat(Infinity).filter(Boolean));
  shown = address;
  const heading = main.querySelector("h1");
  document.title = `${heading.textContent} · Data catalog`;
  const isTyped = document.activeElement === search;
  if (!isTyped) heading.focus({ preventScroll: true });
  if (kind === "search") {
    if (!isTyped) search.value = rest.join("/");
    return;
  }
  if (kind || search.value.trim()) search.value = ""; // else a blank that was typed would go
  main.querySelector(".graph .chosen")?.scrollIntoView({ block: "nearest", inline: "center" });
  window.scrollTo(0, 0);
}

/** Print what is folded, too. */
window.addEventListener("beforeprint", () => main.querySelectorAll("details").forEach((each) => each.setAttribute("open", "")));

function start(value) {
  catalog = value;
  catalog.numbers = new Map(catalog.datasets.map(({ key }, number) => [key, number]));
  document.getElementById("footer").textContent = `Written ${catalog.generated} UTC by pipeline-assets catalog: ${count(catalog.datasets.length, "dataset")}.`;
  window.addEventListener("hashchange", () => {
    if (location.hash !== shown) show(); // results that were drawn again would lose the focus
  });
  show();
}
