// Draws the figures in the element with the id "charts". Colours come from the style of the page (--series-0 ... and
// the names in `look`), so that the dark scheme and print need no second copy of anything here.
(() => {
  "use strict";
  const SHAPES = ["circle", "triangle", "rect", "rectRot", "star", "crossRot", "rectRounded", "cross"];
  const DASHES = [[], [7, 4], [2, 3], [10, 4, 2, 4], [4, 4], [1, 2], [12, 4]];
  const LONGEST_NAME = 28;
  const LETTER_WIDTH = 7;
  const ROW_HEIGHT = 34;
  const LANE_HEIGHT = 22;

  const look = () => {
    const style = getComputedStyle(document.documentElement);
    const read = (name) => style.getPropertyValue(name).trim();
    return {
      text: read("--text"), soft: read("--soft"), grid: read("--grid"), surface: read("--surface"), font: read("--font"),
      series: SHAPES.map((_, index) => read(`--series-${index}`)),
    };
  };
  const faint = (colour, alpha) => `color-mix(in srgb, ${colour} ${100 * alpha}%, transparent)`;
  const mix = (context) => {
    // a canvas may not know color-mix; let it try once and fall back to hexadecimal alpha
    context.fillStyle = "#000";
    context.fillStyle = faint("#ffffff", 0.5);
    return context.fillStyle === "#000000"
      ? (colour, alpha) => colour + Math.round(255 * alpha).toString(16).padStart(2, "0")
      : faint;
  };
  const shorten = (name, most = LONGEST_NAME) => (name.length > most ? `${name.slice(0, most - 1)}…` : name);
  // one or two lines: Chart.js would squeeze or clip a title that is longer than its axis
  const wrap = (title, space) => {
    const most = Math.max(8, Math.floor(space / LETTER_WIDTH));
    if (title.length <= most) return title;
    const gap = title.lastIndexOf(" ", most);
    const first = gap > most / 3 ? title.slice(0, gap) : title.slice(0, most);
    const rest = title.slice(first.length).trim();
    return [first, rest.length > most ? `${rest.slice(0, most - 1)}…` : rest];
  };
  // as in the tables: a real minus sign, narrow spaces between thousands
  const tidy = (text) => text.replaceAll(",", "\u202f").replaceAll("-", "\u2212");
  const at = (column, index) => (column === undefined ? null : column[index]);
  const known = (value) => value !== null && value !== undefined;
  const number = (value) => (known(value) ? tidy(Number(value.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 12 })) : "unknown");
  const interval = (low, high) => (known(low) && known(high) ? ` [${number(low)}, ${number(high)}]` : "");

  // round numbers between the ends: steps of 1, 2 or 5 times a power of ten that leave room for the labels
  const spread = (scale, least) => {
    const [space, room] = scale.isHorizontal() ? [scale.width, Math.max(50, scale.width / 8)] : [scale.height, 36];
    const wanted = (scale.max - scale.min) / Math.max(2, Math.floor(space / room));
    const power = 10 ** Math.floor(Math.log10(wanted));
    const apart = (step) => Math.abs(Math.log(step / wanted));
    const steps = [1, 2, 5, 10].map((factor) => factor * power);
    const step = Math.max(least, steps.reduce((best, next) => (apart(next) < apart(best) ? next : best)));
    const first = Math.ceil(scale.min / step - 1e-9);
    const last = Math.floor(scale.max / step + 1e-9);
    // dividing by the inverse keeps 0.3 from becoming 0.30000000000000004
    const value = (index) => (step < 1 ? index / Math.round(1 / step) : index * step);
    scale.ticks = Array.from({ length: last - first + 1 }, (_, index) => ({ value: value(first + index) }));
  };

  const axis = (data, colours, space, least = 0) => ({
    type: data.logarithmic ? "logarithmic" : "linear",
    min: data.range?.[0], max: data.range?.[1],
    afterBuildTicks: data.logarithmic || !data.range ? undefined : (scale) => spread(scale, least),
    title: { display: true, text: wrap(data.title, space), color: colours.text, font: { size: 12.5 } },
    border: { color: colours.grid },
    grid: { color: (line) => (line.tick?.value === 0 ? colours.soft : colours.grid), drawTicks: false },
    ticks: {
      color: colours.soft, padding: 8, maxRotation: 0, autoSkipPadding: 8,
      autoSkip: !data.logarithmic,  // those without a label are skipped below, whichever they are
      callback(value, index, all) {
        if (data.logarithmic) {
          const digit = value / 10 ** Math.floor(Math.log10(value) + 1e-9);
          const shown = this.max / this.min > 100 ? [1] : [1, 2, 5];
          return shown.some((one) => Math.abs(digit - one) < 1e-6) ? number(value) : "";
        }
        const largest = Math.max(Math.abs(this.min), Math.abs(this.max));
        if (value !== 0 && (largest < 1e-4 || largest >= 1e7)) return tidy(Number(value.toPrecision(6)).toExponential());
        return tidy(Chart.Ticks.formatters.numeric.call(this, value, index, all));
      },
    },
  });

  const lines = (chart, colours, alpha) => {
    const band = (series, colour, column, fill) => ({
      label: "", data: series.x.map((x, i) => ({ x, y: series[column][i] })), borderWidth: 0, pointRadius: 0,
      pointHitRadius: 0, fill, spanGaps: series.joins === true, backgroundColor: alpha(colour, 0.18), isBand: true,
    });
    return chart.series.flatMap((series, index) => {
      const colour = colours.series[index % colours.series.length];
      const bands = series.lower && series.upper
        ? [band(series, colour, "lower", false), band(series, colour, "upper", "-1")] : [];
      return [...bands, {
        label: series.name, source: series, data: series.x.map((x, i) => ({ x, y: series.y[i] })),
        borderColor: colour, backgroundColor: colour, borderWidth: 2, borderDash: DASHES[index % DASHES.length],
        pointStyle: SHAPES[index % SHAPES.length], pointRadius: series.x.length > 30 ? 0 : 2.5, pointHoverRadius: 5,
        pointBorderWidth: 1.5, tension: 0, spanGaps: series.joins === true,
        clip: 6,  // the first and the last point stand on the frame, and are shown whole
      }];
    });
  };

  const caps = (colours, colour) => ({
    errorBarColor: colour, errorBarWhiskerColor: colour, errorBarLineWidth: 1.5, errorBarWhiskerLineWidth: 1.5,
    errorBarWhiskerSize: 9, errorBarWhiskerRatio: -1,
  });

  const ends = (point, low, high, name) =>
    known(low) && known(high) ? { ...point, [`${name}Min`]: low, [`${name}Max`]: high } : point;

  const includesZero = (series, index) => {
    const low = at(series.lower, index);
    const high = at(series.upper, index);
    return known(low) && known(high) && low <= 0 && high >= 0;
  };

  const bars = (chart, colours, alpha) => chart.series.map((series, index) => {
    const single = chart.series.length === 1;
    const colour = (i) => colours.series[single ? Number(series.y[i] < 0) : index % colours.series.length];
    return {
      label: series.name, source: series,
      data: series.y.map((y, i) => ends({ x: y, y: i }, at(series.lower, i), at(series.upper, i), "x")),
      backgroundColor: series.y.map((_, i) => alpha(colour(i), includesZero(series, i) ? 0.3 : 0.9)),
      borderColor: series.y.map((_, i) => colour(i)), borderWidth: 1, maxBarThickness: 20,
      ...caps(colours, colours.text),
    };
  });

  const points = (chart, colours, alpha) => chart.series.map((series, index) => {
    const colour = colours.series[index % colours.series.length];
    return {
      label: series.name, source: series,
      data: series.y.map((y, i) => ends(
        ends({ x: series.x[i], y }, at(series.lower, i), at(series.upper, i), "y"),
        at(series.x_lower, i), at(series.x_upper, i), "x")),
      pointStyle: SHAPES[index % SHAPES.length], radius: 6, hoverRadius: 8, borderColor: colour,
      borderWidth: 1.5, backgroundColor: alpha(colour, 0.75), ...caps(colours, colour),
    };
  });

  const tooltip = (chart) => ({
    filter: (item) => !item.dataset.isBand,
    callbacks: {
      title: (items) => {
        if (items.length === 0) return "";
        const { source } = items[0].dataset;
        const x = source.x[items[0].dataIndex];
        return chart.kind === "bar" ? String(x) : `${chart.x.title}: ${number(x)}`;
      },
      label: (item) => {
        const { source } = item.dataset;
        const i = item.dataIndex;
        return `${shorten(source.name)}: ${number(source.y[i])}${interval(at(source.lower, i), at(source.upper, i))}`;
      },
    },
  });

  const lanes = (chart) => [...new Set((chart.bands ?? []).map((band) => band.lane))];

  // stages in lanes above a line chart, each lane in the colour of the series of its name
  const stages = (chart, colours, alpha) => ({
    id: "stages",
    afterDraw({ ctx, chartArea: { left, right, top }, scales: { x } }) {
      const names = lanes(chart);
      ctx.save();
      ctx.font = `12px ${colours.font}`;
      ctx.textBaseline = "middle";
      for (const [row, name] of names.entries()) {
        const middle = top - (names.length - row - 0.5) * LANE_HEIGHT - 4;
        const found = chart.series.findIndex((series) => series.name === name);
        const colour = colours.series[(found < 0 ? row : found) % colours.series.length];
        ctx.textAlign = "right";
        ctx.fillStyle = colours.text;
        ctx.fillText(shorten(name, Math.max(3, Math.floor((left - 8) / LETTER_WIDTH))), left - 8, middle);
        for (const band of chart.bands.filter((one) => one.lane === name)) {
          const from = Math.max(left, x.getPixelForValue(band.start));
          const width = Math.min(right, x.getPixelForValue(band.end)) - from;
          ctx.fillStyle = alpha(colour, 0.1 + 0.4 * band.strength);
          ctx.fillRect(from, middle - LANE_HEIGHT / 2 + 2, Math.max(1, width - 1), LANE_HEIGHT - 4);
          ctx.fillStyle = colours.text;
          ctx.textAlign = "center";
          if (ctx.measureText(band.label).width + 6 < width) ctx.fillText(band.label, from + width / 2, middle);
        }
      }
      ctx.restore();
    },
  });

  const explain = (chart) => {
    if (chart.kind !== "bar") return "";
    const pale = chart.series.some((series) => series.y.some((_, i) => includesZero(series, i)));
    const full = chart.series.some((series) => series.y.some((y, i) => known(y) && !includesZero(series, i)));
    return pale && full ? "Pale bars: the interval includes 0." : "";
  };

  const configure = (chart, context) => {
    const colours = look();
    const alpha = mix(context);
    const lying = chart.kind === "bar";
    const { clientWidth: width, clientHeight: height } = context.canvas.parentElement;
    const along = (lying ? 0.5 : 0.8) * width;
    const up = 0.62 * height;
    const above = 4 + (chart.bands ? lanes(chart).length * LANE_HEIGHT + 4 : 0);
    const longest = Math.min(Math.max(LONGEST_NAME, Math.floor(width / 20)), Math.floor((0.4 * width) / LETTER_WIDTH));
    // there is no update 1.5
    const whole = chart.series.every((series) => series.x.every(Number.isInteger));
    const names = lying ? chart.series[0]?.x ?? [] : [];
    const type = { line: "line", bar: "barWithErrorBars", scatter: "scatterWithErrorBars" }[chart.kind];
    const datasets = { line: lines, bar: bars, scatter: points }[chart.kind](chart, colours, alpha);
    // the names of lanes stand left of them, where the y axis is
    const room = (scale) => {
      const most = Math.max(0, ...lanes(chart).map((name) => Math.min(name.length, LONGEST_NAME)));
      scale.width = Math.max(scale.width, Math.min(0.3 * width, most * LETTER_WIDTH + 12));
    };
    const category = {
      type: "category", labels: names, grid: { display: false }, border: { color: colours.grid },
      title: { display: true, text: wrap(chart.x.title, up), color: colours.text, font: { size: 12.5 } },
      ticks: { color: colours.text, autoSkip: false, padding: 8, callback: (_, i) => shorten(names[i], longest) },
    };
    return {
      type,
      data: { labels: lying ? names : undefined, datasets },
      plugins: chart.bands ? [stages(chart, colours, alpha)] : [],
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, indexAxis: lying ? "y" : "x", locale: "en",
        font: { family: colours.font }, color: colours.text, layout: { padding: { right: 12, top: above } },
        interaction: { mode: chart.kind === "line" ? "index" : "nearest", intersect: chart.kind !== "line" },
        scales: lying
          ? { x: axis(chart.y, colours, along), y: category }
          : { x: axis(chart.x, colours, along, whole ? 1 : 0), y: { ...axis(chart.y, colours, up), afterFit: room } },
        plugins: {
          legend: {
            display: chart.series.length > 1, position: chart.bands ? "bottom" : "top", align: "start",
            labels: {
              color: colours.text, usePointStyle: true, boxHeight: 8, padding: 14,
              filter: (item, data) => !data.datasets[item.datasetIndex].isBand,
              generateLabels: (drawn) => Chart.defaults.plugins.legend.labels.generateLabels(drawn)
                .map((item) => ({ ...item, text: shorten(item.text, Math.max(16, Math.min(48, Math.floor(width / 14)))) })),
            },
          },
          tooltip: tooltip(chart),
        },
      },
    };
  };

  // a page whose figures change draws them itself
  globalThis.accreditCharts = { configure, explain };

  const holder = document.getElementById("charts");
  if (!holder) return;
  const figures = JSON.parse(holder.textContent).map((chart) => ({ chart, canvas: document.getElementById(chart.id) }));
  for (const { chart, canvas } of figures) {
    const box = canvas.parentElement;
    if (box.dataset.rows) box.style.height = `${Math.max(4, Number(box.dataset.rows) + 2.5) * ROW_HEIGHT}px`;
    // on a narrow page the legend has a row for each name
    else box.style.minHeight = `${240 + 24 * chart.series.length + LANE_HEIGHT * lanes(chart).length}px`;
    document.getElementById(`${chart.id}-key`).textContent = explain(chart);
  }
  const draw = () => {
    for (const figure of figures) {
      figure.drawn?.destroy();
      Chart.defaults.font.family = look().font;
      figure.drawn = new Chart(figure.canvas, configure(figure.chart, figure.canvas.getContext("2d")));
    }
  };
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(draw, 150);
  });
  // paper is white whatever the screen is: the style for print has its own colours
  matchMedia("print").addEventListener("change", draw);
})();
