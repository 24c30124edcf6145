"use strict";
// Draws the charts from the JSON in #told. What belongs to a chart is decided in charts.py; here is how it looks.
(() => {
  const told = JSON.parse(document.getElementById("told").textContent);
  const drawn = new Map(); // chart's id -> {chart, place, lines, hidden}
  const printed = matchMedia("print");
  const PAPER_PX = 670; // what a chart may be wide on A4 and on letter paper
  const isTouched = matchMedia("(pointer: coarse)");
  let shown = null; // [from, to] as Plotly has dates, when somebody has zoomed in
  // The axis counts from some midnight: Plotly reads a number below 10,000 as a year.
  const MIDNIGHT_MS = Date.UTC(2000, 0, 1);
  const at = (ms) => MIDNIGHT_MS + ms;
  const clock = told.has_hours ? "%-H:%M:%S" : "%-M:%S";
  const MINUTE_MS = 60000;
  const ticks = told.has_hours ? [{ dtickrange: [null, MINUTE_MS - 1], value: clock }, { dtickrange: [MINUTE_MS, null], value: "%-H:%M" }] : [];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  // Plotly knows no color-mix.
  const tinted = (name, share) => {
    const digits = colour(name).slice(1);
    const parts = [0, 2, 4].map((from) => parseInt(digits.slice(from, from + 2), 16));
    return `rgba(${parts.join(",")},${share})`;
  };

  const unpacked = async (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };
  const loadLibrary = async () => {
    const script = document.createElement("script");
    script.textContent = await unpacked(document.getElementById("library").textContent.trim());
    document.head.append(script);
  };

  const swatch = (line) => ({ area: "filled", stack: "solid", bar: "solid" })[line.shape] ?? (line.dashed ? "dashed" : "");
  const trace = (line, hidden) => {
    const base = { name: line.name, x: line.x ?? told.t_ms.map(at), y: line.y, visible: !hidden.has(line.name), connectgaps: false };
    if (line.x) base.customdata = line.told;
    base.hovertemplate = line.told ? `%{customdata}: <b>%{y:${line.format}}</b>` : `<b>%{y:${line.format}}</b>`;
    if (line.unit) base.hovertemplate += ` ${line.unit}`;
    if (line.shape === "bar") return { ...base, type: "bar", width: told.step_ms, offset: -told.step_ms, marker: { color: colour(line.colour), line: { width: 0 } } };
    const drawing = {
      ...base, type: "scatter", mode: "lines",
      line: { color: colour(line.colour), width: line.width ?? 1.8, dash: line.dashed ? "5px,4px" : "solid", shape: line.is_stepped ? "vh" : "linear" },
    };
    if (line.shape === "area") Object.assign(drawing, { fill: "tozeroy", fillcolor: tinted(line.colour, 0.16) });
    if (line.shape === "stack") {
      Object.assign(drawing, { stackgroup: "all", fillcolor: tinted(line.colour, line.strength ?? 0.75) });
      drawing.line = { color: colour(line.colour), width: 0.6 };
    }
    return drawing;
  };

  const phases = () => told.phases_ms.map((ms) => ({
    type: "line", yref: "paper", y0: 0, y1: 1, x0: at(ms), x1: at(ms), layer: "below", line: { width: 1, dash: "dot", color: tinted("faint", 0.7) },
  }));
  const shading = () => told.faults.flatMap((fault) => {
    const common = { type: "rect", yref: "paper", y0: 0, y1: 1, layer: "below", line: { width: 0 } };
    const during = { ...common, x0: at(fault.from_ms), x1: at(fault.to_ms), fillcolor: tinted("fault", 0.3) };
    const edge = { ...common, type: "line", x0: at(fault.from_ms), x1: at(fault.from_ms), line: { width: 1.5, color: tinted("fault", 0.95) } };
    const after = fault.recovered_ms === null ? [] : [{ ...common, x0: at(fault.to_ms), x1: at(fault.recovered_ms), fillcolor: tinted("fault", 0.12) }];
    return [during, ...after, edge];
  });

  const axis = (more) => ({
    gridcolor: colour("grid"), linecolor: colour("line"), zeroline: false, automargin: true,
    tickfont: { size: 12, color: colour("faint") }, title: { font: { size: 12.5, color: colour("faint") }, standoff: 8 }, ...more,
  });
  const titled = (text) => ({ text, font: { size: 12.5, color: colour("faint") }, standoff: 8 });
  const xAxis = (chart, isNarrow) => {
    if (chart.kind === "spectrum") {
      return axis({ type: "log", range: [0, chart.nines], tickvals: chart.ticks.map((tick) => tick[0]), ticktext: chart.ticks.map((tick) => tick[1]), title: titled("percentile"), fixedrange: true });
    }
    return axis({
      type: "date", range: shown ?? told.whole_ms.map(at), hoverformat: clock, tickformat: clock, tickformatstops: ticks, nticks: isNarrow ? 6 : 12,
      title: titled(told.has_hours ? "since the start, in hours" : "since the start, min:s"), showspikes: true, spikemode: "across", spikethickness: 1, spikedash: "solid", spikecolor: tinted("faint", 0.5), spikesnap: "cursor",
    });
  };
  const numbers = () => told.faults.map((fault) => ({
    text: `<b>${fault.number}</b>`, showarrow: false, x: at(fault.from_ms), yref: "paper", y: 1, xanchor: "left", yanchor: "bottom", xshift: -3,
    font: { size: 12, color: colour("faint") },
  }));
  const layout = (chart, isNarrow) => ({
    margin: { l: 8, r: 14, t: chart.kind === "time" && told.faults.length ? 22 : 10, b: 8 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
    ...(printed.matches ? { autosize: false, width: PAPER_PX } : { autosize: true }),
    font: { family: getComputedStyle(document.body).fontFamily, color: colour("ink"), size: 12.5 },
    hovermode: "x unified", barmode: "overlay", bargap: 0, dragmode: isTouched.matches || chart.kind !== "time" ? false : "zoom",
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("ink"), size: 12.5 }, namelength: isNarrow ? 18 : 40 },
    shapes: chart.kind === "time" ? [...phases(), ...shading()] : [],
    annotations: chart.kind === "time" ? numbers() : [],
    xaxis: xAxis(chart, isNarrow),
    yaxis: axis({ title: titled(chart.y_title), rangemode: "tozero", tickformat: chart.y_format, nticks: 7, fixedrange: true, type: chart.is_log ? "log" : "linear", ...(chart.is_log ? { range: chart.decades, dtick: 1, exponentformat: "none" } : {}) }),
  });

  const linesOf = (chart) => {
    if (!chart.choices) return chart.lines;
    const select = document.querySelector(`select[data-chart="${chart.id}"]`);
    return chart.choices[select ? Number(select.value) : 0].lines;
  };
  const draw = async (chart) => {
    const place = document.getElementById(`chart-${chart.id}`);
    const { hidden } = drawn.get(chart.id) ?? { hidden: new Set() };
    const lines = linesOf(chart);
    const isFirst = !drawn.has(chart.id);
    drawn.set(chart.id, { chart, place, hidden });
    if (isFirst) {
      place.textContent = "";
      place.classList.remove("waiting");
    }
    await Plotly.react(place, lines.map((line) => trace(line, hidden)), layout(chart, place.clientWidth < 560), { displayModeBar: false, responsive: true, doubleClick: false });
    if (isFirst && chart.kind === "time") {
      place.on("plotly_relayout", zoomed);
      place.on("plotly_doubleclick", () => zoom(null));
    }
    legend(chart, lines, hidden);
  };
  const legend = (chart, lines, hidden) => {
    const list = document.getElementById(`legend-${chart.id}`);
    list.replaceChildren(...lines.map((line) => {
      const button = document.createElement("button");
      const mark = document.createElement("i");
      mark.className = swatch(line);
      mark.style.setProperty("--of", `var(--${line.colour})`);
      if (line.strength) mark.style.opacity = line.strength;
      button.type = "button";
      button.ariaPressed = String(!hidden.has(line.name));
      button.append(mark, line.name);
      button.addEventListener("click", () => {
        if (!hidden.delete(line.name)) hidden.add(line.name);
        draw(chart);
      });
      return button;
    }));
    if (chart.kind === "time" && told.faults.length) {
      const fault = document.createElement("span");
      fault.className = "fault";
      fault.append(document.createElement("i"), "fault, then recovery");
      list.append(fault);
    }
  };

  const again = () => Promise.all([...drawn.values()].map(({ chart }) => draw(chart)));
  const zoom = (range) => {
    shown = range;
    document.querySelectorAll(".whole").forEach((button) => { button.hidden = !range; });
    return again();
  };
  const zoomed = (change) => {
    const [from, to] = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
    if (from !== undefined) zoom([from, to]);
  };

  document.querySelectorAll(".whole").forEach((button) => button.addEventListener("click", () => zoom(null)));
  document.querySelectorAll("select[data-chart]").forEach((select) => {
    select.addEventListener("change", () => draw(told.charts.find((chart) => chart.id === select.dataset.chart)));
  });
  document.querySelectorAll("button[data-log]").forEach((button) => {
    const chart = told.charts.find((each) => each.id === button.dataset.log);
    button.ariaPressed = String(chart.is_log);
    button.addEventListener("click", () => {
      chart.is_log = !chart.is_log;
      button.ariaPressed = String(chart.is_log);
      draw(chart);
    });
  });
  document.querySelectorAll("button.copy").forEach((button) => button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.of).textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      // Without leave to write there, it is marked for the person to copy.
      getSelection().selectAllChildren(document.getElementById(button.dataset.of));
      button.textContent = "Marked";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  printed.addEventListener("change", again);

  (async () => {
    try {
      await loadLibrary();
      await Promise.all(told.charts.map(draw));
      document.documentElement.dataset.drawn = "yes";
    } catch (error) {
      document.querySelectorAll(".chart.waiting").forEach((place) => { place.textContent = "This browser cannot draw the charts. The tables are complete."; });
      document.documentElement.dataset.drawn = "no";
      console.error(error);
    }
  })();
})();
