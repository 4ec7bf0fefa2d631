"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const MAP = ["#440154", "#481a6c", "#472f7d", "#414487", "#39568c", "#31688e", "#2a788e", "#23888e", "#1f988b",
    "#22a884", "#35b779", "#54c568", "#7ad151", "#a5db36", "#d2e21b", "#fde725"].map((hex) =>
    [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const SAID = { u: "not measured", n: "not a number (NaN)", i: "infinite", m: "minus infinity" };
  const ABOVE = 1.05, LEVELS = 16, TINY = Number.MIN_VALUE;
  const BOX = { left: 58, right: 74, top: 10, bottom: 44 };
  const state = { log: false, split: null };
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  const number = (value) => String(Number(value.toPrecision(6)));
  const tick = (value) => {
    const size = Math.abs(value);
    return size === 0 || (size >= 1e-3 && size < 1e5) ? String(Number(value.toPrecision(4))) : value.toExponential(1);
  };
  const colour = (height, light = 1) => {
    const at = Math.min(Math.max(height, 0), 1) * (MAP.length - 1), low = Math.min(Math.floor(at), MAP.length - 2);
    return `rgb(${MAP[low].map((c, k) => Math.round(Math.min(255, (c + (MAP[low + 1][k] - c) * (at - low)) * light)))})`;
  };
  const snapped = (at) => Math.round(at * devicePixelRatio) / devicePixelRatio; // no seams between cells
  const nearest = (values, wanted) =>
    values.reduce((best, value, i) => (Math.abs(value - wanted) < Math.abs(values[best] - wanted) ? i : best), 0);
  // A cell reaches half-way to its neighbours; the whole range of them is what the picture shows.
  const edges = (values) => {
    if (values.length === 1) return [values[0] - 0.5, values[0] + 0.5];
    const inside = values.slice(1).map((value, i) => (value + values[i]) / 2);
    return [2 * values[0] - inside[0], ...inside, 2 * values[values.length - 1] - inside[inside.length - 1]];
  };
  const probe = document.body.appendChild(document.createElement("span"));
  const ink = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  let theme = {};

  function prepared(canvas) {
    const ratio = window.devicePixelRatio || 1, [wide, high] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(wide * ratio) || canvas.height !== Math.round(high * ratio)) {
      canvas.width = Math.round(wide * ratio);
      canvas.height = Math.round(high * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, wide, high);
    pen.font = "12px system-ui, sans-serif";
    return { pen, wide, high };
  }

  class Panel {
    constructor(element, held) {
      Object.assign(this, { element, held, yaw: -0.6, pitch: 0.55, marked: null, base: null });
      this.line = held.y === null;
      this.ny = this.line ? 1 : held.y.length;
      this.cursor = [nearest(held.x, 0), this.line ? 0 : nearest(held.y, 0)];
      this.map = element.querySelector(".map");
      this.surface = element.querySelector(".surface");
      this.output = element.querySelector("output");
      this.buttons = [...element.querySelectorAll("[data-point]")];
      this.listen();
    }
    get name() { return state.split in this.held.splits ? state.split : Object.keys(this.held.splits)[0]; }
    get split() { return this.held.splits[this.name]; }
    get scale() { return data.scales[this.held.scale][state.log ? "log" : "linear"]; }
    at(i, j) { return i * this.ny + j; }

    raised(loss) {
      const offset = this.scale.offset;
      return offset === null ? loss : Math.log(Math.max(loss - offset, TINY));
    }
    height(loss) {
      const low = this.raised(this.scale.low), span = this.raised(this.scale.high) - low;
      return loss > this.scale.high ? ABOVE : Math.min(Math.max((this.raised(loss) - low) / (span > 0 ? span : 1), 0), 1);
    }
    // Heights of the split that is shown: NaN where there is no number, ABOVE what is above the scale.
    heights(split = this.split) {
      return split.loss.map((loss, k) => (loss !== null ? this.height(loss) : split.status[k] === "i" ? ABOVE : NaN));
    }

    told() {
      const [i, j] = this.cursor, k = this.at(i, j), split = this.split, error = split.stderr[k];
      const where = `a = ${number(this.held.x[i])}` + (this.line ? "" : `, b = ${number(this.held.y[j])}`);
      if (split.status[k] !== "o") return `${where}: loss ${SAID[split.status[k]]}`;
      const metrics = Object.entries(split.metrics).map(([name, values]) =>
        `, ${name} ${values[k] === null ? "none" : number(values[k])}`);
      return `${where}: loss ${number(split.loss[k])}${error === null ? "" : ` ± ${Number(error.toPrecision(2))}`}${metrics.join("")}`;
    }

    draw() {
      this.element.querySelector(".shown").textContent = this.name;
      for (const part of this.element.querySelectorAll(".points")) part.hidden = part.dataset.split !== this.name;
      this.high = this.heights();
      this.basin = this.flooded();
      this.base = null;
      this.redraw();
    }
    redraw() {
      this.output.textContent = this.told();
      if (this.line) this.drawCurve(); else { this.drawMap(); this.drawSurface(); }
    }

    // Where x and y are on the map, in CSS pixels; BOX is its margin.
    frame(wide, high) {
      const ex = edges(this.held.x), ey = this.line ? null : edges(this.held.y);
      const span = [wide - BOX.left - BOX.right, high - BOX.top - BOX.bottom];
      const x = (value) => BOX.left + ((value - ex[0]) / (ex[ex.length - 1] - ex[0])) * span[0];
      const y = ey && ((value) => BOX.top + (1 - (value - ey[0]) / (ey[ey.length - 1] - ey[0])) * span[1]);
      const back = (px, py) => [ex[0] + ((px - BOX.left) / span[0]) * (ex[ex.length - 1] - ex[0]),
        ey && ey[0] + (1 - (py - BOX.top) / span[1]) * (ey[ey.length - 1] - ey[0])];
      return { ex, ey, x, y, back, bottom: high - BOX.bottom, right: wide - BOX.right };
    }

    drawMap() {
      const { pen, wide, high } = prepared(this.map), frame = this.frame(wide, high);
      if (!this.base || this.base.width !== this.map.width || this.base.height !== this.map.height) {
        this.cells(pen, frame);
        this.contours(pen, frame);
        this.axes(pen, frame, wide);
        this.bar(pen, frame, wide);
        this.base = document.createElement("canvas");
        [this.base.width, this.base.height] = [this.map.width, this.map.height];
        this.base.getContext("2d").drawImage(this.map, 0, 0);
      } else {
        pen.drawImage(this.base, 0, 0, wide, high);
      }
      this.marks(pen, (x, y) => [frame.x(x), frame.y(y)]);
      const [x, y] = [frame.x(this.held.x[this.cursor[0]]), frame.y(this.held.y[this.cursor[1]])];
      this.stroke(pen, [[[x, BOX.top], [x, frame.bottom]], [[BOX.left, y], [frame.right, y]]], "#fff", "#000");
    }
    stroke(pen, lines, ...colours) {
      colours.forEach((style, k) => {
        pen.strokeStyle = style;
        pen.lineWidth = k === 0 ? 3 : 1;
        pen.beginPath();
        for (const [from, to] of lines) { pen.moveTo(...from); pen.lineTo(...to); }
        pen.stroke();
      });
    }
    cells(pen, frame) {
      const hatch = this.hatch(pen);
      for (let i = 0; i < this.held.x.length; i++) {
        const [left, right] = [frame.x(frame.ex[i]), frame.x(frame.ex[i + 1])].map(snapped);
        for (let j = 0; j < this.ny; j++) {
          const height = this.high[this.at(i, j)], top = snapped(frame.y(frame.ey[j + 1]));
          const box = [left, top, right - left, snapped(frame.y(frame.ey[j])) - top];
          pen.fillStyle = height > 1 ? theme.edge : Number.isNaN(height) ? theme.page : colour(height);
          pen.fillRect(...box);
          if (!(height <= 1) && this.split.status[this.at(i, j)] !== "u") { pen.fillStyle = hatch; pen.fillRect(...box); }
        }
      }
    }
    hatch(pen) {
      const tile = document.createElement("canvas");
      tile.width = tile.height = 8;
      const own = tile.getContext("2d");
      own.strokeStyle = theme.faint;
      own.beginPath();
      for (const shift of [-8, 0, 8]) { own.moveTo(shift, 8); own.lineTo(shift + 8, 0); }
      own.stroke();
      return pen.createPattern(tile, "repeat");
    }
    // Marching squares; a cell with a corner that is no number has no lines.
    contours(pen, frame) {
      pen.strokeStyle = "rgba(255, 255, 255, 0.6)";
      pen.lineWidth = 0.8;
      pen.beginPath();
      const { x, y } = this.held;
      for (let i = 0; i + 1 < x.length; i++) {
        for (let j = 0; j + 1 < this.ny; j++) {
          const around = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]].map(([p, q]) =>
            [frame.x(x[p]), frame.y(y[q]), this.high[this.at(p, q)]]);
          const heights = around.map((corner) => corner[2]);
          if (heights.some((height) => !(height <= 1))) continue;
          const [least, most] = [Math.min(...heights), Math.max(...heights)];
          for (let k = Math.ceil(least * LEVELS); k <= most * LEVELS; k++) crossing(pen, around, k / LEVELS);
        }
      }
      pen.stroke();
    }
    axes(pen, frame, wide) {
      pen.strokeStyle = pen.fillStyle = theme.ink;
      pen.lineWidth = 1;
      pen.strokeRect(BOX.left, BOX.top, frame.right - BOX.left, frame.bottom - BOX.top);
      pen.textAlign = "center";
      for (const value of spread(this.held.x, wide < 420 ? 3 : 5)) pen.fillText(tick(value), frame.x(value), frame.bottom + 16);
      pen.fillText("a", (BOX.left + frame.right) / 2, frame.bottom + 34);
      pen.textAlign = "right";
      if (!this.line) {
        for (const value of spread(this.held.y, 5)) pen.fillText(tick(value), BOX.left - 6, frame.y(value) + 4);
        pen.fillText("b", 12, (BOX.top + frame.bottom) / 2);
      }
    }
    bar(pen, frame, wide) {
      const [left, top, high] = [wide - BOX.right + 10, BOX.top + 16, frame.bottom - BOX.top - 16];
      for (let k = 0; k < 64; k++) {
        pen.fillStyle = colour(1 - k / 63);
        pen.fillRect(left, top + (k / 64) * high, 10, high / 64 + 0.5);
      }
      pen.fillStyle = theme.ink;
      pen.textAlign = "left";
      let last = Infinity;
      for (const value of this.scale.ticks) {
        const y = top + (1 - this.height(value)) * high;
        if (last - y > 12) { pen.fillText(tick(value), left + 14, y + 4); last = y; }
      }
      if (this.scale.clipped) pen.fillText(`▨ > ${tick(this.scale.high)}`, left - 6, BOX.top + 8);
    }

    // The critical points, the basin of the one that is marked, and where it drains.
    marks(pen, place) {
      if (this.basin) {
        pen.fillStyle = "rgba(255, 255, 255, 0.85)";
        for (const k of this.basin) {
          const [i, j] = [Math.floor(k / this.ny), k % this.ny];
          const [x, y] = place(this.held.x[i], this.line ? null : this.held.y[j], this.split.loss[k]);
          pen.beginPath();
          pen.arc(x, y, 1.7, 0, 7);
          pen.fill();
        }
      }
      const points = this.split.points, chosen = points[this.marked];
      points.forEach((point, k) => {
        const [x, y] = place(point.x, point.y, point.loss);
        symbol(pen, point.kind, x, y, point.sure ? 5 : 3);
        if (chosen && (k === this.marked || k === chosen.into || k === chosen.saddle)) {
          pen.strokeStyle = k === this.marked ? "#ff3b30" : "#ffd60a";
          pen.lineWidth = 3;
          pen.beginPath();
          pen.arc(x, y, 11, 0, 7);
          pen.stroke();
        }
      });
    }
    // A basin is the part below the saddle where it drains that is joined to its minimum, by edges of the triangulation.
    flooded() {
      const point = this.split.points[this.marked];
      if (!point || point.until === undefined) return null;
      const wide = this.held.x.length, start = this.at(nearest(this.held.x, point.x), this.line ? 0 : nearest(this.held.y, point.y));
      const found = new Set([start]), waiting = [start];
      while (waiting.length) {
        const k = waiting.pop(), [i, j] = [Math.floor(k / this.ny), k % this.ny];
        for (const [di, dj] of [[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1]]) {
          const [p, q] = [i + di, j + dj], next = this.at(p, q), loss = this.split.loss[next];
          if (p < 0 || q < 0 || p >= wide || q >= this.ny || found.has(next)) continue;
          if (loss !== null && loss < point.until) { found.add(next); waiting.push(next); }
        }
      }
      return found;
    }

    // Parallel projection of a box of side 2: x and y turn about the upright, then the eye is raised by `pitch`.
    projection(wide, high) {
      const [c, s, cp, sp] = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
      const size = Math.min(wide / 3.1, high / 2.7);
      return (x, y, z) => {
        const across = x * c - y * s, deep = x * s + y * c;
        return [wide / 2 + size * across, high / 2 - size * (z * cp + deep * sp), deep * cp - z * sp];
      };
    }
    unit(values, value) {
      const span = values[values.length - 1] - values[0];
      return span > 0 ? (2 * (value - values[0])) / span - 1 : 0;
    }
    lifted(project) {
      return (x, y, loss) => {
        const height = loss === null ? ABOVE : this.height(loss);
        return project(this.unit(this.held.x, x), this.unit(this.held.y, y), 1.3 * height - 0.65);
      };
    }
    drawSurface() {
      const { pen, wide, high } = prepared(this.surface), project = this.projection(wide, high);
      const { x, y } = this.held, at = [];
      for (let i = 0; i < x.length; i++) {
        for (let j = 0; j < this.ny; j++) {
          at.push(project(this.unit(x, x[i]), this.unit(y, y[j]), 1.3 * this.high[this.at(i, j)] - 0.65));
        }
      }
      this.places = at;
      this.floor(pen, project);
      const facets = [];
      for (let i = 0; i + 1 < x.length; i++) {
        for (let j = 0; j + 1 < this.ny; j++) {
          const four = [this.at(i, j), this.at(i + 1, j), this.at(i + 1, j + 1), this.at(i, j + 1)];
          const mean = four.reduce((sum, k) => sum + this.high[k], 0) / 4;
          if (!Number.isNaN(mean)) facets.push([four.reduce((sum, k) => sum + at[k][2], 0), four, mean, this.light(four, i, j)]);
        }
      }
      facets.sort((one, other) => other[0] - one[0]);
      pen.lineWidth = 0.6;
      for (const [, four, mean, light] of facets) {
        pen.fillStyle = pen.strokeStyle = four.some((k) => this.high[k] > 1) ? theme.edge : colour(mean, light);
        pen.beginPath();
        four.forEach((k, n) => (n ? pen.lineTo(at[k][0], at[k][1]) : pen.moveTo(at[k][0], at[k][1])));
        pen.closePath();
        pen.fill();
        pen.stroke();
      }
      this.marks(pen, this.lifted(project));
      const [px, py] = at[this.at(...this.cursor)];
      if (!Number.isNaN(py)) {
        pen.fillStyle = "#fff";
        pen.strokeStyle = "#000";
        pen.lineWidth = 2;
        pen.beginPath();
        pen.arc(px, py, 5, 0, 7);
        pen.fill();
        pen.stroke();
      }
    }
    light([a, b, , d]) {
      const run = (from, to, step) => (this.high[to] - this.high[from]) * step;
      const along = run(a, b, 0.65 * (this.held.x.length - 1)), up = run(a, d, 0.65 * (this.ny - 1));
      return 0.8 + 0.35 * Math.max(0, (1 + 0.5 * along - 0.4 * up) / Math.hypot(along, up, 1) / 1.2);
    }
    floor(pen, project) {
      const corners = [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([x, y]) => project(x, y, -0.65));
      pen.strokeStyle = theme.faint;
      pen.lineWidth = 1;
      pen.beginPath();
      corners.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
      pen.closePath();
      pen.stroke();
      pen.fillStyle = theme.ink;
      pen.textAlign = "center";
      const { x, y } = this.held;
      const ends = [["a", x, (t) => [t, -1.13]], ["b", y, (t) => [-1.13, t]]];
      for (const [name, values, where] of ends) {
        const told = [[-1, tick(values[0])], [0, name], [1, tick(values[values.length - 1])]];
        for (const [t, text] of told) pen.fillText(text, ...project(...where(t), -0.65).slice(0, 2));
      }
    }

    drawCurve() {
      const { pen, wide, high } = prepared(this.map), frame = this.frame(wide, high);
      const room = frame.bottom - BOX.top - 16, level = (height) => frame.bottom - Math.min(height, ABOVE) * (room / ABOVE);
      const names = Object.keys(this.held.splits);
      this.axes(pen, frame, wide);
      pen.textAlign = "right";
      let last = Infinity;
      for (const value of this.scale.ticks) {
        const y = level(this.height(value));
        if (last - y > 12) { pen.fillText(tick(value), BOX.left - 6, y + 4); last = y; }
      }
      if (this.scale.clipped) { pen.textAlign = "left"; pen.fillText(`above ${tick(this.scale.high)}`, BOX.left + 4, BOX.top + 8); }
      names.forEach((name, k) => {
        const split = this.held.splits[name], style = theme.lines[k % theme.lines.length], main = name === this.name;
        const [x, points] = [this.held.x.map(frame.x), this.heights(split).map(level)];
        this.band(pen, split, x, level, style);
        this.path(pen, x, points, style, main ? 2.4 : 1.2, []);
        const accuracy = split.metrics.accuracy;
        if (accuracy) this.path(pen, x, accuracy.map((a) => (a === null ? NaN : level(a))), style, 1, [5, 4]);
        pen.fillStyle = style;
        pen.textAlign = "left";
        pen.fillText(name.slice(0, 10), frame.right + 6, BOX.top + 14 + 16 * k);
      });
      pen.fillStyle = theme.ink;
      if (names.some((name) => this.held.splits[name].metrics.accuracy)) {
        for (const [value, text] of [[0, "0"], [1, "acc. 1"]]) pen.fillText(text, frame.right + 6, level(value) + (value ? 16 * names.length + 12 : 4));
      }
      this.marks(pen, (x, _, loss) => [frame.x(x), level(this.height(loss))]);
      const x = frame.x(this.held.x[this.cursor[0]]);
      this.stroke(pen, [[[x, BOX.top], [x, frame.bottom]]], theme.page, theme.ink);
    }
    path(pen, x, y, style, wide, dash) {
      pen.strokeStyle = pen.fillStyle = style;
      pen.lineWidth = wide;
      pen.setLineDash(dash);
      pen.beginPath();
      x.forEach((px, i) => {
        if (!(Number.isNaN(y[i]) || Number.isNaN(y[i - 1])) && i) pen.lineTo(px, y[i]); else pen.moveTo(px, y[i]);
        if (!Number.isNaN(y[i])) pen.fillRect(px - wide / 2, y[i] - wide / 2, wide, wide);
      });
      pen.stroke();
      pen.setLineDash([]);
    }
    band(pen, split, x, level, style) {
      pen.fillStyle = style;
      pen.globalAlpha = 0.2;
      for (let i = 1; i < x.length; i++) {
        const ends = [i - 1, i].flatMap((k) => [split.loss[k], split.stderr[k]]);
        if (ends.includes(null)) continue;
        const at = (k, sign) => [x[k], level(this.height(split.loss[k] + sign * split.stderr[k]))];
        pen.beginPath();
        pen.moveTo(...at(i - 1, 1));
        for (const corner of [at(i, 1), at(i, -1), at(i - 1, -1)]) pen.lineTo(...corner);
        pen.fill();
      }
      pen.globalAlpha = 1;
    }

    move(i, j) {
      const inside = (k, count) => Math.min(Math.max(k, 0), count - 1);
      this.cursor = [inside(i, this.held.x.length), inside(j, this.ny)];
      const [a, b] = [this.held.x[this.cursor[0]], this.line ? 0 : this.held.y[this.cursor[1]]];
      for (const other of panels) {
        if (other.held.scale !== this.held.scale) continue;
        if (other !== this) other.cursor = [nearest(other.held.x, a), other.line ? 0 : nearest(other.held.y, b)];
        other.redraw();
      }
    }
    mark(k) {
      this.marked = this.marked === k ? null : k;
      for (const button of this.buttons) {
        const on = button.closest(".points").dataset.split === this.name && Number(button.dataset.point) === this.marked;
        button.setAttribute("aria-pressed", on);
        button.closest("tr").classList.toggle("on", on);
      }
      this.basin = this.flooded();
      const point = this.split.points[this.marked];
      if (point) this.move(nearest(this.held.x, point.x), this.line ? 0 : nearest(this.held.y, point.y)); else this.redraw();
    }
    turn(yaw, pitch) {
      this.yaw += yaw;
      this.pitch = Math.min(Math.max(this.pitch + pitch, 0.05), 1.5);
      this.drawSurface();
    }

    listen() {
      const hover = (event) => {
        const [a, b] = this.frame(this.map.clientWidth, this.map.clientHeight).back(event.offsetX, event.offsetY);
        this.move(nearest(this.held.x, a), this.line ? 0 : nearest(this.held.y, b));
      };
      this.map.addEventListener("pointermove", hover);
      this.map.addEventListener("pointerdown", hover);
      this.map.addEventListener("keydown", (event) => {
        const step = event.shiftKey ? 5 : 1, [i, j] = this.cursor;
        const to = { ArrowLeft: [i - step, j], ArrowRight: [i + step, j], ArrowUp: [i, j + step], ArrowDown: [i, j - step],
          Home: [nearest(this.held.x, 0), this.line ? 0 : nearest(this.held.y, 0)] }[event.key];
        if (to) { event.preventDefault(); this.move(...to); }
      });
      for (const button of this.buttons) button.addEventListener("click", () => this.mark(Number(button.dataset.point)));
      if (this.surface) this.listenSurface();
    }
    listenSurface() {
      let held = null;
      this.surface.addEventListener("pointerdown", (event) => {
        held = [event.clientX, event.clientY];
        this.surface.setPointerCapture(event.pointerId);
      });
      for (const end of ["pointerup", "pointercancel"]) this.surface.addEventListener(end, () => { held = null; });
      this.surface.addEventListener("pointermove", (event) => {
        if (held) {
          this.turn((event.clientX - held[0]) / 150, (event.clientY - held[1]) / 150);
          held = [event.clientX, event.clientY];
        } else {
          this.pick(event.offsetX, event.offsetY);
        }
      });
      this.surface.addEventListener("keydown", (event) => {
        const by = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
        if (by) { event.preventDefault(); this.turn(...by); }
      });
    }
    // The point under the pointer; of several close ones the one nearest to the eye.
    pick(x, y) {
      const far = this.places.map(([px, py]) => Math.hypot(px - x, py - y)), close = Math.min(...far.filter((d) => d >= 0));
      if (close === Infinity) return;
      let best = -1;
      far.forEach((d, k) => { if (d <= close + 3 && (best < 0 || this.places[k][2] < this.places[best][2])) best = k; });
      this.move(Math.floor(best / this.ny), best % this.ny);
    }
  }

  // Where a level crosses the four sides of a cell; of a saddle cell two lines, parted by the mean of its corners.
  function crossing(pen, around, level) {
    const cuts = [];
    around.forEach(([x, y, z], k) => {
      const [u, v, w] = around[(k + 1) % 4];
      if (z < level !== w < level) cuts.push([x + ((u - x) * (level - z)) / (w - z), y + ((v - y) * (level - z)) / (w - z)]);
    });
    if (cuts.length === 4) {
      const high = around.reduce((sum, corner) => sum + corner[2], 0) / 4 >= level;
      if (high !== around[0][2] >= level) cuts.push(cuts.shift()); // the low corners, or the high ones, are cut off
      for (const [from, to] of [[0, 1], [2, 3]]) { pen.moveTo(...cuts[from]); pen.lineTo(...cuts[to]); }
    } else if (cuts.length === 2) {
      pen.moveTo(...cuts[0]);
      pen.lineTo(...cuts[1]);
    }
  }
  function symbol(pen, kind, x, y, size) {
    pen.beginPath();
    if (kind === "minimum") pen.arc(x, y, size, 0, 7);
    else if (kind === "maximum") { pen.moveTo(x, y - size); pen.lineTo(x + size, y + size); pen.lineTo(x - size, y + size); pen.closePath(); }
    else { pen.moveTo(x - size, y - size); pen.lineTo(x + size, y + size); pen.moveTo(x + size, y - size); pen.lineTo(x - size, y + size); }
    for (const [style, wide] of [["#000", 4], ["#fff", 2]]) { pen.strokeStyle = style; pen.lineWidth = wide; pen.stroke(); }
  }
  // Some of the axis's own values, evenly: its ends and what lies between.
  function spread(values, count) {
    if (values.length <= count) return values;
    return Array.from({ length: count }, (_, k) => values[Math.round((k * (values.length - 1)) / (count - 1))]);
  }

  const panels = [...document.querySelectorAll(".panel")].map((element) =>
    new Panel(element, data.panels[Number(element.dataset.panel)]));
  function drawAll() {
    theme = { page: ink("page"), ink: ink("ink"), faint: ink("faint"), edge: ink("edge"),
      lines: ["line0", "line1", "line2", "line3"].map(ink) };
    for (const panel of panels) panel.draw();
  }

  const split = document.getElementById("split"), spin = document.getElementById("spin");
  if (split) {
    state.split = split.value;
    state.log = data.scales[0].first === "log";
    for (const radio of document.querySelectorAll("[name=scale]")) {
      radio.checked = radio.value === (state.log ? "log" : "linear");
      radio.addEventListener("change", () => { state.log = radio.value === "log" && radio.checked; drawAll(); });
    }
    split.addEventListener("change", () => {
      state.split = split.value;
      for (const panel of panels) if (panel.marked !== null) panel.mark(panel.marked);
      drawAll();
    });
    new ResizeObserver(drawAll).observe(document.querySelector("main"));
  }
  if (spin) {
    let on = false;
    const turn = () => {
      if (!on) return;
      for (const panel of panels) if (panel.surface) panel.turn(calm.matches ? 0 : 0.01, 0);
      requestAnimationFrame(turn);
    };
    spin.disabled = calm.matches;
    spin.addEventListener("click", () => {
      on = !on;
      spin.setAttribute("aria-pressed", on);
      turn();
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.print = "";
    for (const part of document.querySelectorAll("details")) part.open = true;
    drawAll();
  });
  addEventListener("afterprint", () => { delete document.documentElement.dataset.print; drawAll(); });
  drawAll();
})();
