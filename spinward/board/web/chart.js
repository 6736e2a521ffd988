// Draws curves with intervals as SVG: zoom by dragging, by buttons and by keys; several runs.
"use strict";

const SPACE = "http://www.w3.org/2000/svg";
const [LEFT, RIGHT, TOP, BOTTOM] = [56, 14, 12, 40];
const DASHES = ["", "8 4", "2 3"]; // colours repeat after six runs, with another dash
const POLL_MS = 3000;

const short = (x) => {
  const size = Math.abs(x);
  if (size >= 1e6) return `${+(x / 1e6).toPrecision(4)}M`;
  if (size >= 1e4) return `${+(x / 1e3).toPrecision(4)}k`;
  return `${+x.toPrecision(4)}`;
};

function shape(name, attributes, parent) {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

// About `count` round numbers between two numbers.
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const found = [];
  for (let x = Math.ceil(low / step) * step; x <= high + step * 1e-9; x += step) found.push(Math.abs(x) < step * 1e-9 ? 0 : x);
  return found;
}

// The mean of each point and its neighbours within `reach`; gaps stay gaps.
function smoothed(values, reach) {
  if (!reach) return values;
  return values.map((own, i) => {
    if (own === null) return null;
    const near = values.slice(Math.max(0, i - reach), i + reach + 1).filter((x) => x !== null);
    return near.reduce((a, b) => a + b, 0) / near.length;
  });
}

class Chart {
  constructor(section) {
    this.section = section;
    this.keys = section.dataset.runs.split(" ");
    this.metric = section.dataset.metric;
    this.curves = new Map();
    this.off = new Set(); // runs that are not drawn
    this.view = null; // the steps in sight; null: all
    this.svg = section.querySelector("svg.plot");
    this.select = section.querySelector(".metric");
    this.slider = section.querySelector(".smooth");
    section.hidden = false;
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.section);
    this.load(true);
    setInterval(() => document.hidden || this.load(false), POLL_MS);
  }

  listen() {
    this.select.addEventListener("change", () => {
      this.metric = this.select.value;
      this.curves.clear();
      this.load(true);
    });
    this.slider.addEventListener("input", () => {
      const reach = Number(this.slider.value);
      this.section.querySelector("output").textContent = reach ? `${2 * reach + 1} points` : "off";
      this.draw();
    });
    for (const button of this.section.querySelectorAll("[data-act]")) button.addEventListener("click", () => this.act(button.dataset.act));
    const keys = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", 0: "all" };
    this.svg.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
      event.preventDefault();
      this.act(keys[event.key]);
    });
    this.svg.addEventListener("pointerdown", (event) => {
      this.from = this.step(event);
      this.svg.setPointerCapture(event.pointerId);
    });
    this.svg.addEventListener("pointermove", (event) => this.over(event));
    this.svg.addEventListener("pointerup", (event) => this.zoomed(event));
    this.svg.addEventListener("pointercancel", () => this.cancel());
    this.svg.addEventListener("dblclick", () => this.act("all"));
  }

  async load(all) {
    const metric = this.metric;
    const due = this.keys.filter((key) => all || !this.curves.has(key) || this.curves.get(key).state === "running");
    for (const key of due) {
      let found;
      try {
        const answer = await fetch(`/api/curve/${key}?metric=${encodeURIComponent(metric)}`);
        found = await answer.json();
        if (!answer.ok) found = { name: key, error: found.error, steps: [], metrics: [], state: "" };
      } catch {
        continue; // board.js says that the server does not answer
      }
      if (metric !== this.metric) return;
      this.curves.set(key, found);
    }
    if (!due.length) return;
    if (!this.metric) this.metric = [...this.curves.values()].find((c) => c.metric)?.metric || "";
    this.offer();
    this.legend();
    this.draw();
  }

  // The metrics that any of the runs has.
  offer() {
    const names = [...new Set([...this.curves.values()].flatMap((c) => c.metrics))];
    if (names.length === this.select.options.length) return;
    this.select.replaceChildren(...names.map((name) => new Option(name, name, false, name === this.metric)));
    this.select.value = this.metric;
  }

  legend() {
    const list = this.section.querySelector(".legend");
    const lines = this.keys.map((key, i) => {
      const curve = this.curves.get(key);
      const [item, label, box] = ["li", "label", "input"].map((name) => document.createElement(name));
      box.type = "checkbox";
      box.checked = !this.off.has(key);
      box.addEventListener("change", () => {
        box.checked ? this.off.delete(key) : this.off.add(key);
        this.draw();
      });
      const key_line = document.createElementNS(SPACE, "svg");
      key_line.setAttribute("viewBox", "0 0 32 12");
      key_line.setAttribute("aria-hidden", "true");
      shape("path", { d: "M0 6H32", class: `line c${i % 6}`, "stroke-dasharray": DASHES[Math.floor(i / 6) % 3] }, key_line);
      const words = document.createElement("span");
      words.textContent = curve?.error ? `${curve.name}: ${curve.error}` : `${curve?.name ?? "…"}${curve?.interval ? ` (${curve.statistic}; ${curve.interval})` : ""}`;
      label.append(box, key_line, words);
      item.append(label);
      return item;
    });
    if (!list.contains(document.activeElement)) list.replaceChildren(...lines);
  }

  // The steps and values in sight.
  frame() {
    const shown = this.keys.map((key, i) => ({ i, curve: this.curves.get(key), key })).filter(({ curve, key }) => curve?.steps.length && !this.off.has(key));
    const last = Math.max(...shown.map(({ curve }) => curve.steps.at(-1)));
    const [from, to] = this.view || [0, last];
    let [low, high] = [Infinity, -Infinity];
    for (const { curve } of shown)
      curve.steps.forEach((step, j) => {
        if (step < from || step > to) return;
        for (const x of [curve.value[j], curve.low[j], curve.high[j]])
          if (x !== null) [low, high] = [Math.min(low, x), Math.max(high, x)];
      });
    if (low > high) [low, high] = [0, 1];
    const room = (high - low) * 0.05 || Math.abs(high) * 0.05 || 1;
    return { shown, from, to, last, low: low - room, high: high + room };
  }

  draw() {
    const { svg } = this;
    const width = (this.width = Math.max(280, Math.round(this.section.clientWidth)));
    const height = (this.height = Math.round(Math.min(440, Math.max(220, width * 0.45))));
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`); // a unit is a pixel, so that text is legible
    svg.replaceChildren();
    const frame = (this.now = this.frame());
    const names = frame.shown.map(({ curve }) => curve.name).join(", ");
    svg.setAttribute("aria-label", names ? `Curves of ${this.metric} over steps: ${names}` : "No values yet");
    if (!frame.shown.length) {
      shape("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, svg).textContent = "No values yet";
      return;
    }
    const x = (step) => LEFT + ((step - frame.from) / (frame.to - frame.from || 1)) * (width - LEFT - RIGHT);
    const y = (value) => height - BOTTOM - ((value - frame.low) / (frame.high - frame.low)) * (height - TOP - BOTTOM);
    this.axes(frame, x, y);
    const clip = shape("clipPath", { id: "inside" }, shape("defs", {}, svg));
    shape("rect", { x: LEFT, y: TOP, width: width - LEFT - RIGHT, height: height - TOP - BOTTOM }, clip);
    const area = shape("g", { "clip-path": "url(#inside)" }, svg);
    const reach = Number(this.slider.value);
    for (const { i, curve } of frame.shown) {
      const [low, high, value] = [curve.low, curve.high, curve.value].map((v) => smoothed(v, reach));
      const inside = curve.steps.map((step, j) => j).filter((j) => low[j] !== null && high[j] !== null);
      const edge = [...inside.map((j) => [j, high]), ...inside.reverse().map((j) => [j, low])];
      if (edge.length) shape("polygon", { class: `band f${i % 6}`, points: edge.map(([j, v]) => `${x(curve.steps[j])},${y(v[j])}`).join(" ") }, area);
      const path = (values) => {
        let pen = "M";
        return curve.steps.map((step, j) => {
          if (values[j] === null) {
            pen = "M";
            return "";
          }
          const part = `${pen}${x(step).toFixed(1)} ${y(values[j]).toFixed(1)}`;
          pen = "L";
          return part;
        }).join("");
      };
      if (reach) shape("path", { class: `line raw c${i % 6}`, d: path(curve.value) }, area);
      shape("path", { class: `line c${i % 6}`, d: path(value), "stroke-dasharray": DASHES[Math.floor(i / 6) % 3] }, area);
    }
    this.mark = shape("rect", { class: "mark", x: 0, y: TOP, width: 0, height: height - TOP - BOTTOM }, svg);
    this.cursor = shape("line", { class: "grid", x1: -9, x2: -9, y1: TOP, y2: height - BOTTOM }, svg);
    this.x = x;
  }

  axes(frame, x, y) {
    const { width, height } = this;
    for (const step of ticks(frame.from, frame.to, Math.max(2, Math.round(width / 120)))) {
      shape("line", { class: "grid", x1: x(step), x2: x(step), y1: TOP, y2: height - BOTTOM }, this.svg);
      shape("text", { x: x(step), y: height - BOTTOM + 16, "text-anchor": "middle" }, this.svg).textContent = short(step);
    }
    for (const value of ticks(frame.low, frame.high, 5)) {
      shape("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }, this.svg);
      shape("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, this.svg).textContent = short(value);
    }
    shape("text", { x: (LEFT + width - RIGHT) / 2, y: height - 6, "text-anchor": "middle" }, this.svg).textContent = "steps of each seed";
  }

  // The step below the pointer.
  step(event) {
    const box = this.svg.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * this.width;
    const share = Math.min(1, Math.max(0, (place - LEFT) / (this.width - LEFT - RIGHT)));
    const { from, to } = this.now;
    return from + share * (to - from);
  }

  over(event) {
    if (!this.now?.shown.length) return;
    const step = this.step(event);
    const parts = this.now.shown.map(({ curve }) => {
      const j = curve.steps.reduce((best, s, k) => (Math.abs(s - step) < Math.abs(curve.steps[best] - step) ? k : best), 0);
      const bounds = curve.low[j] === null ? "" : ` (${short(curve.low[j])} to ${short(curve.high[j])})`;
      return `${curve.name} at ${short(curve.steps[j])}: ${curve.value[j] === null ? "no value" : short(curve.value[j])}${bounds}`;
    });
    this.section.querySelector(".readout").textContent = parts.join(" · ");
    const place = this.x(step);
    this.cursor.setAttribute("x1", place);
    this.cursor.setAttribute("x2", place);
    if (this.from === undefined) return;
    const [a, b] = [this.x(this.from), place];
    this.mark.setAttribute("x", Math.min(a, b));
    this.mark.setAttribute("width", Math.abs(a - b));
  }

  zoomed(event) {
    if (this.from === undefined || !this.now) return;
    const [a, b] = [this.from, this.step(event)].sort((p, q) => p - q);
    this.from = undefined;
    if (b - a > (this.now.to - this.now.from) / 50) this.view = [a, b];
    this.draw();
  }

  cancel() {
    this.from = undefined;
    this.draw();
  }

  act(name) {
    if (!this.now?.shown.length) return;
    const { from, to, last } = this.now;
    const [span, middle] = [to - from, (from + to) / 2];
    if (name === "all") this.view = null;
    else if (name === "in") this.view = [middle - span / 4, middle + span / 4];
    else if (name === "out") this.view = [middle - span, middle + span];
    else this.view = [from, to].map((s) => s + (name === "left" ? -span / 4 : span / 4));
    if (this.view) {
      const width = Math.min(this.view[1] - this.view[0], last);
      const start = Math.min(Math.max(0, this.view[0]), last - width);
      this.view = width >= last ? null : [start, start + width];
    }
    this.draw();
  }
}

const charts = [...document.querySelectorAll(".chart")].map((section) => new Chart(section));
