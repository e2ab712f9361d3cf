// The live page. The server says when something has changed (/stream); then, at most twice a second, what is shown is
// asked for (/data) and drawn. Every text goes into the page as text; nothing is ever read as markup.
(() => {
  "use strict";
  const PAUSE_MS = 500;
  const find = (id) => document.getElementById(id);
  const controls = { place: find("place"), output: find("output"), window: find("window") };
  const link = find("link");
  const pause = find("pause");
  const drawn = new Map();

  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  // names a user chose may be written from right to left, or hold marks that turn the direction
  const isolated = (text) => make("bdi", { textContent: text });
  const setText = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };
  const say = (text, state) => {
    setText(link, text);
    link.className = state;
  };

  // ---- what is selected stays in the address, after the #, and so survives a reload
  const wanted = new URLSearchParams(location.hash.slice(1));
  const remember = (name) => {
    wanted.set(name, controls[name].value);
    history.replaceState(null, "", `#${wanted}`);
  };
  const fill = (select, groups, chosen) => {
    const flat = JSON.stringify(groups);
    if (select.dataset.filled !== flat) {
      select.dataset.filled = flat;
      select.replaceChildren(...groups.filter(([, options]) => options.length).map(([label, options]) => {
        const made = options.map(([value, text]) => make("option", { value, textContent: text }));
        return label ? make("optgroup", { label }, ...made) : made;
      }).flat());
    }
    if (select.value !== chosen) select.value = chosen;
  };
  const fillControls = (answer) => {
    const first = answer.runs.find((run) => run.place) ?? answer.runs[0];
    // an attribution has neither environments nor steps
    for (const name of ["place", "window"]) controls[name].parentElement.hidden = !first.place && answer.runs.every((run) => run.rows !== "Events");
    const groups = Object.entries(answer.groups).map(([name, members]) => [name, `${name} (all ${members})`]);
    const has = (select, value) => [...select.options].some((option) => option.value === value);
    fill(controls.place, [["together", groups], ["one by one", answer.environments.map((name) => [name, name])]], controls.place.value);
    fill(controls.output, [["", answer.outputs.map((name) => [name, name.replace("/", ": ")])]], controls.output.value);
    for (const name of ["place", "output"]) {
      const value = wanted.get(name);
      controls[name].value = has(controls[name], value) ? value : first[name];
    }
    if (wanted.has("window")) controls.window.value = wanted.get("window");
  };

  // ---- the events themselves, a few at a time
  const eventRow = (row) => {
    const time = row.time === null ? "" : new Date(1000 * row.time).toLocaleTimeString([], { hour12: false });
    const cells = [time, row.event, row.environment, row.where, row.text];
    return make("tr", {}, make("th", { scope: "row", className: "number", textContent: String(row.line) }),
      ...cells.map((text) => make("td", {}, isolated(text))));
  };
  const log = (run) => {
    const heads = ["line", "time", "event", "environment", "where", "what"];
    const body = make("tbody");
    const earlier = make("button", { type: "button", textContent: "Earlier" });
    const latest = make("button", { type: "button", textContent: "Latest" });
    const place = make("button", { type: "button", textContent: "Selected environments only" });
    place.setAttribute("aria-pressed", "false");
    const region = make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Events" },
      make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col", textContent: text })))), body));
    const element = make("details", { className: "log" }, make("summary", { textContent: "Events" }),
      make("p", { className: "buttons" }, latest, earlier, place), region);
    element.entitle = (rows) => {
      setText(element.firstChild, rows);
      region.ariaLabel = rows;
      place.hidden = rows !== "Events";
    };
    let before = null;
    let next = 0;
    element.read = async () => {
      if (!element.open) return;
      const query = new URLSearchParams({ run });
      if (before !== null) query.set("before", before);
      if (place.getAttribute("aria-pressed") === "true") query.set("place", controls.place.value);
      const response = await fetch(`/events?${query}`).catch(() => null);
      if (!response?.ok) return;  // the line above the controls says when the page is not reached
      const found = await response.json();
      next = found.first;
      earlier.disabled = next === 0;
      body.replaceChildren(...found.rows.map(eventRow));
    };
    const turn = (to) => {
      before = to();
      element.read();
    };
    element.follow = () => before === null && element.read();
    element.addEventListener("toggle", element.read);
    earlier.addEventListener("click", () => turn(() => next));
    latest.addEventListener("click", () => turn(() => null));
    place.addEventListener("click", () => {
      place.setAttribute("aria-pressed", String(place.getAttribute("aria-pressed") !== "true"));
      turn(() => null);
    });
    return element;
  };

  // ---- the runs
  const showRuns = (runs) => {
    const holder = find("runs");
    while (holder.children.length < runs.length) {
      holder.append(make("section", { className: "run" },
        make("h2", { dir: "auto" }), make("p", { className: "state" }),
        make("progress", { max: 1 }), make("dl"), make("div"),
        log(holder.children.length)));
    }
    runs.forEach((run, index) => {
      const [name, state, progress, facts, notices, events] = holder.children[index].children;
      const isBehind = run.progress < 0.999;
      const share = isBehind ? run.progress : run.done;
      setText(name, run.name);
      setText(state, isBehind ? `reading its ${run.rows.toLowerCase()}: ${Math.floor(100 * run.progress)} %` : run.state);
      progress.hidden = share === null;
      progress.value = share ?? 0;
      progress.ariaLabel = isBehind ? "events that were read" : "coalitions that were evaluated";
      events.entitle(run.rows);
      facts.replaceChildren(...run.facts.map(([label, value]) =>
        make("div", {}, make("dt", { textContent: label }), make("dd", {}, isolated(value)))));
      events.follow();
      notices.replaceChildren(...run.notices.map((text) => make("p", { className: "notice", dir: "auto", textContent: text })));
    });
  };

  // ---- the figures
  const cell = (entry) => {
    if (typeof entry === "string") return make("td", {}, isolated(entry));
    return make("td", { className: "number", textContent: entry === null || entry === undefined ? "–" : String(Number(entry.toPrecision(6))).replace("-", "−") });
  };
  const table = (chart) => {
    const columns = [["lower", "lower"], ["upper", "upper"]];
    if (chart.series.some((series) => series.x_lower)) columns.push(["x_lower", "lower, across"], ["x_upper", "upper, across"]);
    const heads = ["series", chart.x.title, chart.y.title, ...columns.map(([, title]) => title)];
    const rows = chart.series.flatMap((series) => series.y.map((y, i) =>
      make("tr", {}, make("th", { scope: "row" }, isolated(series.name)), cell(series.x[i]), cell(y),
        ...columns.map(([name]) => cell(series[name]?.[i])))));
    const stages = (chart.bands ?? []).map((band) =>
      make("tr", {}, make("th", { scope: "row" }, isolated(band.lane)), cell(band.start), cell(band.label), cell(band.end), cell(null)));
    return make("table", {},
      make("thead", {}, make("tr", {}, ...heads.map((text, i) => make("th", { scope: "col", className: i ? "number" : "" }, isolated(text))))),
      make("tbody", {}, ...rows, ...stages));
  };
  const frame = (id) => {
    const canvas = make("canvas", { id: `${id}-canvas`, role: "img" });
    const parts = {
      caption: make("figcaption", { id: `${id}-title`, dir: "auto" }), whose: make("p", { className: "whose", dir: "auto" }),
      canvas, key: make("p", { className: "note" }), note: make("p", { className: "note", dir: "auto" }),
      numbers: make("div", { className: "scroll", tabIndex: 0, role: "region" }),
    };
    const details = make("details", {}, make("summary", { textContent: "The numbers" }), parts.numbers);
    const figure = make("figure", { className: "chart", id }, parts.caption, parts.whose,
      make("div", { className: "plot" }, canvas), parts.key, parts.note, details);
    figure.setAttribute("aria-labelledby", parts.caption.id);
    const entry = { ...parts, figure, details, chart: null, picture: null };
    details.addEventListener("toggle", () => showNumbers(entry));
    return entry;
  };
  const showNumbers = (entry) => {
    if (!entry.details.open) return;
    const { scrollTop, scrollLeft } = entry.numbers;
    entry.numbers.replaceChildren(table(entry.chart));
    entry.numbers.scrollTo(scrollLeft, scrollTop);
  };
  const paint = (entry) => {
    const { chart, canvas } = entry;
    const box = canvas.parentElement;
    const rows = chart.kind === "bar" ? Math.max(1, chart.series[0]?.y.length ?? 0) * Math.max(1, chart.series.length) : 0;
    box.style.height = rows ? `${Math.max(4, rows + 2.5) * 34}px` : "";
    const lanes = new Set((chart.bands ?? []).map((band) => band.lane)).size;
    box.style.minHeight = rows ? "" : `${230 + 24 * chart.series.length + 22 * lanes}px`;
    const settings = accreditCharts.configure(chart, canvas.getContext("2d"));
    // a chart that was made for one kind or with other plug-ins cannot become another
    const made = `${settings.type} ${(settings.plugins ?? []).length}`;
    if (entry.picture && entry.made === made && !(settings.plugins ?? []).length) {
      Object.assign(entry.picture, { options: settings.options });
      entry.picture.data = settings.data;
      entry.picture.update("none");
    } else {
      entry.picture?.destroy();
      entry.picture = new Chart(canvas, settings);
      entry.made = made;
    }
    setText(entry.key, accreditCharts.explain(chart));
  };
  const showFigure = (id, chart, whose) => {
    const entry = drawn.get(id) ?? frame(id);
    drawn.set(id, entry);
    const flat = JSON.stringify(chart);
    if (entry.flat !== flat) {
      entry.flat = flat;
      entry.chart = chart;
      setText(entry.caption, chart.title);
      setText(entry.whose, whose);
      setText(entry.note, chart.note);
      const kind = { line: "Line chart", bar: "Bar chart", scatter: "Scatter chart" }[chart.kind];
      entry.canvas.setAttribute("aria-label", `${kind}: ${chart.title}. ${chart.y.title} over ${chart.x.title}. The numbers are in the table below.`);
      entry.numbers.setAttribute("aria-label", `The numbers: ${chart.title}`);
      entry.isStale = true;
    }
    return entry;
  };
  // the same axis for all runs, so that they can be compared by eye
  const align = (charts) => {
    for (const axis of ["x", "y"]) {
      const ranges = charts.map((chart) => chart[axis].range).filter(Boolean);
      if (charts[0].kind === "bar" && axis === "x") continue;
      const range = ranges.length ? [Math.min(...ranges.map((r) => r[0])), Math.max(...ranges.map((r) => r[1]))] : null;
      for (const chart of charts) chart[axis].range = range;
    }
  };
  const arrange = (holder, children) => {
    const same = children.length === holder.children.length && children.every((child, i) => holder.children[i] === child);
    if (!same) holder.replaceChildren(...children);
  };
  const rows = new Map();
  const section = (name) => {
    if (!rows.has(name)) rows.set(name, make("section", {}, make("h2", { textContent: name }), make("div", { className: "row" })));
    return rows.get(name);
  };
  const showFigures = (runs) => {
    const topics = new Map();
    runs.forEach((run, index) => run.charts.forEach((chart) => {
      if (!topics.has(chart.id)) topics.set(chart.id, []);
      topics.get(chart.id).push([index, chart]);
    }));
    const bySection = new Map();
    for (const [id, found] of topics) {
      if (found.length > 1) align(found.map(([, chart]) => chart));
      for (const [index, chart] of found) {
        const entry = showFigure(`${id}-${index}`, chart, runs.length > 1 ? runs[index].name : "");
        const name = chart.section;
        bySection.set(name, [...(bySection.get(name) ?? []), entry]);
      }
    }
    const shown = new Set([...bySection.values()].flat());
    for (const [id, entry] of drawn) {
      if (!shown.has(entry)) {
        entry.picture?.destroy();
        drawn.delete(id);
      }
    }
    for (const [name, entries] of bySection) arrange(section(name).lastChild, entries.map((entry) => entry.figure));
    const empty = make("p", { className: "empty", textContent: "There is nothing to draw yet. Figures appear with the first events." });
    arrange(find("figures"), bySection.size ? [...bySection.keys()].map(section) : [empty]);
    // in the page first: a figure that is not has no size
    for (const entry of shown) {
      if (!entry.isStale) continue;
      entry.isStale = false;
      paint(entry);
      showNumbers(entry);
    }
  };

  // ---- keeping up
  let isAsking = false;
  let isDue = false;
  let stream = null;
  const isPaused = () => pause.getAttribute("aria-pressed") === "true";
  const ask = async () => {
    isDue = true;
    if (isAsking) return;
    isAsking = true;
    while (isDue) {
      isDue = false;
      const chosen = Object.fromEntries(["place", "output", "window"].map((name) => [name, wanted.get(name) ?? ""]).filter(([, value]) => value));
      try {
        const response = await fetch(`/data?${new URLSearchParams(chosen)}`);
        if (!response.ok) throw new Error(await response.text());
        const answer = await response.json();
        showRuns(answer.runs);
        fillControls(answer);
        showFigures(answer.runs);
        document.body.dataset.shown = String(Number(document.body.dataset.shown ?? 0) + 1);
      } catch (error) {
        say(`Not up to date: ${error.message}`, "lost");
      }
      await new Promise((done) => setTimeout(done, PAUSE_MS));
    }
    isAsking = false;
  };
  const listen = () => {
    if (stream || document.hidden || isPaused()) return;
    stream = new EventSource("/stream");
    stream.addEventListener("open", () => say("Live", "live"));
    stream.addEventListener("changed", ask);
    stream.addEventListener("error", () => {
      say("Not connected; trying again", "lost");
      if (stream?.readyState === EventSource.CLOSED) {
        stop();
        setTimeout(listen, 2000);
      }
    });
  };
  const stop = () => {
    stream?.close();
    stream = null;
  };
  // browsers allow few connections to one place: a page that nobody looks at gives its own back
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stop();
    else listen();
  });
  pause.addEventListener("click", () => {
    pause.setAttribute("aria-pressed", String(!isPaused()));
    setText(pause, isPaused() ? "Go on" : "Pause");
    stop();
    say("Paused", "");
    listen();
  });
  for (const [name, control] of Object.entries(controls)) {
    control.addEventListener("change", () => {
      remember(name);
      ask();
    });
  }
  find("controls").addEventListener("submit", (event) => event.preventDefault());
  const repaint = () => {
    for (const entry of drawn.values()) paint(entry);
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  matchMedia("print").addEventListener("change", repaint);
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(repaint, 150);
  });
  listen();
})();
