// The health of the pipelines: each number by day, as small charts with one scale of time and as a table.
"use strict";

/** The charts of a pipeline by day, and the numbers behind them. */
function healthOf(pipeline) {
  const { days } = catalog.pipelines[pipeline];
  const chart = (heading, value, options = {}, part = () => 0) => {
    const values = days.map((day) => ({ at: day.day, value: value(day), part: part(day), title: titleOf(day) }));
    return chartOf(heading, values, { small: true, ...options });
  };
  const sum = (name) => days.reduce((total, day) => total + (day[name] || 0), 0);
  const seconds = (name) => `${sum(name).toLocaleString("en", { maximumFractionDigits: 1 })} s`;
  const late = ({ age }) => (age > catalog.freshnessHours ? age : 0);
  const cost = ({ engine, warehouse }) => (engine === null && warehouse === null ? null : engine + warehouse);
  const rows = days.filter(({ runs, batches, read, latency }) => runs || batches || read || latency !== null);
  return h(
    "div",
    {},
    h(
      "div",
      { class: "charts small" },
      chart("Runs", ({ runs }) => runs, { says: `${count(sum("runs"), "run")}, ${sum("failed").toLocaleString("en")} failed` }, ({ failed }) => failed),
      chart("Records", ({ read }) => read, { says: `${sum("read").toLocaleString("en")} read, ${sum("quarantined").toLocaleString("en")} quarantined` }, ({ quarantined }) => quarantined),
      chart("Median latency", ({ latency }) => latency, { unit: " s", none: "not measured" }),
      chart("In quarantine", ({ waiting }) => waiting),
      chart("Since the last arrival", ({ age }) => age, { unit: " h" }, late),
      chart("Cost", cost, { unit: " s", says: `engine ${seconds("engine")}, warehouse ${seconds("warehouse")}`, ofPart: "other" }, ({ warehouse }) => warehouse),
    ),
    h(
      "details",
      {},
      h("summary", {}, `Numbers of ${pipeline} by day`),
      rows.length ? table(DAY_TITLES, rows.reverse().map(dayRow), true) : h("p", { class: "muted" }, `Nothing happened in ${days.length} days.`),
    ),
  );
}

const DAY_TITLES = [
  "Day (UTC)",
  "Runs",
  "Failed",
  "Batches",
  "Read",
  "Loaded",
  "Superseded",
  "Quarantined",
  "In quarantine",
  "Latency, s",
  "Since arrival, h",
  "Engine, s",
  "Warehouse, s",
];

function dayRow(day) {
  return [
    ...[day.day, day.runs, day.failed, day.batches, day.read, day.loaded, day.superseded, day.quarantined, day.waiting],
    ...[day.latency, day.age, day.engine, day.warehouse],
  ];
}

/** Every number of a day, as the text of its bars. */
function titleOf(day) {
  const shown = dayRow(day).map((value, place) => [DAY_TITLES[place], value]).filter(([, value]) => value !== null);
  return shown.map(([name, value]) => (name === DAY_TITLES[0] ? value : `${name}: ${value.toLocaleString("en")}`)).join("\n");
}

/** The state of a pipeline now: its last run, what waits, and when each source last had something. */
function stateOf(pipeline) {
  const { lastRun, waiting } = catalog.pipelines[pipeline];
  const codes = Object.entries(waiting);
  const arrivals = numbersOf(pipeline).filter((number) => catalog.datasets[number].landed);
  const failed = numbersOf(pipeline).filter((number) => catalog.datasets[number].failed);
  return facts([
    ["Last run", lastRun ? h("span", {}, outcome(lastRun), ` ${moment(lastRun.at)}`) : "none recorded"],
    ["Checks not passed", failed.length ? listed(failed, (number) => ` (${catalog.datasets[number].failed})`) : "none"],
    ["In quarantine", codes.length ? codes.map(([code, records]) => `${code}: ${records}`).join(", ") : "nothing"],
    ...arrivals.map((number) => {
      const { at, key } = catalog.datasets[number];
      return [key, at ? freshness(at) : "nothing has arrived yet"];
    }),
  ]);
}

function outcome({ success }) {
  return h("span", { class: success ? "good" : "bad" }, success ? "succeeded" : "failed");
}

function healthPage() {
  const pipelines = Object.keys(catalog.pipelines);
  const now = pipelines.map((pipeline) => {
    const { lastRun, days } = catalog.pipelines[pipeline];
    const today = days[days.length - 1];
    const late = today.age > catalog.freshnessHours;
    const stopped = catalog.datasets.filter((dataset) => dataset.pipeline === pipeline).reduce((sum, { failed }) => sum + failed, 0);
    return [
      link(["pipeline", pipeline], pipeline),
      lastRun ? h("span", { class: "time" }, outcome(lastRun), ` ${lastRun.at.slice(0, 16)}`) : null,
      stopped ? h("span", { class: "warn" }, String(stopped)) : "0",
      today.waiting.toLocaleString("en"),
      today.age === null ? null : h("span", { class: late && "warn" }, `${today.age.toLocaleString("en")} h${late ? ", late" : ""}`),
    ];
  });
  const titles = ["Pipeline", "Last run (UTC)", "Checks not passed", "In quarantine", "Since the last arrival"];
  return [
    h("h1", { tabindex: "-1" }, "Health"),
    table(titles, now, true),
    h("p", { class: "muted" }, `The last ${catalog.pipelines[pipelines[0]]?.days.length} days. Red is the part that failed, was quarantined or is late; of the cost, orange is the warehouse.`),
    pipelines.map((pipeline) => section(pipeline, healthOf(pipeline))),
    section("What is counted", h("ul", {}, COUNTED.map((text) => h("li", {}, text)))),
  ];
}

const COUNTED = [
  "Days are UTC. Runs are those that this installation's Dagster recorded; all other numbers are from the tables of schema OPS.",
  "Records count on the day on which their object was processed last.",
  "Latency is the time from an object's delivery to its commit, of the source that took longest. It is measured where the time of delivery is known: in the key of the object, or in S3.",
  "In quarantine are the records and rejected objects that waited at the end of the day; late is a pipeline with a source in which nothing arrived for the hours of PIPELINE_FRESHNESS_HOURS.",
  "Engine and warehouse are seconds by the clock: of reading, validating and transforming files, and of the publishing transaction. They are not credits or money.",
];
