// A plane or a line: its grid, its cursor, and its map with contours.
class Chart {
  constructor(element, held) {
    Object.assign(this, { element, held, yaw: -0.6, pitch: 0.55, marked: null, turning: false, kept: new Map() });
    this.line = held.y === null;
    this.ny = this.line ? 1 : held.y.length;
    this.cursor = [nearest(held.x, 0), this.line ? 0 : nearest(held.y, 0)];
    this.map = element.querySelector(".map");
    this.surface = element.querySelector(".surface");
    this.output = element.querySelector("output");
    this.buttons = [...element.querySelectorAll("[data-point]")];
  }
  get name() { return Object.hasOwn(this.held.splits, state.split) ? state.split : Object.keys(this.held.splits)[0]; }
  get split() { return this.held.splits[this.name]; }
  get scale() { return data.scales[this.held.scale][state.log ? "log" : "linear"]; }
  // The curvatures that the map shows, or none where it shows the loss.
  get curved() { return this.split.maps[state.map]; }
  at(i, j) { return i * this.ny + j; }

  raised(loss) {
    const offset = this.scale.offset;
    return offset === null ? loss : Math.log(Math.max(loss - offset, TINY));
  }
  height(loss) { return loss > this.scale.high ? ABOVE : Math.min(Math.max(this.onward(loss), 0), 1); }
  // The same beyond both ends of the scale.
  onward(loss) {
    const low = this.raised(this.scale.low), span = this.raised(this.scale.high) - low;
    return (this.raised(loss) - low) / (span > 0 ? span : 1);
  }
  // Heights of the split that is shown: NaN where there is no number, ABOVE what is above the scale.
  heights(split = this.split) {
    return split.loss.map((loss, k) => (loss !== null ? this.height(loss) : split.status[k] === "i" ? ABOVE : NaN));
  }
  // Why a point has no place on the scale; "" where it has one.
  lack(k, split = this.split) {
    const status = split.status[k];
    if (status === "u") return "not measured";
    if (status === "n" || status === "m") return "NaN";
    return status === "i" || split.loss[k] > this.scale.high ? `above ${tick(this.scale.high)}` : "";
  }

  told() {
    const [i, j] = this.cursor, k = this.at(i, j), split = this.split, error = split.stderr[k];
    const where = `a = ${number(this.held.x[i])}` + (this.line ? "" : `, b = ${number(this.held.y[j])}`);
    if (split.status[k] !== "o") return `${where}: loss ${SAID[split.status[k]]}`;
    const metrics = Object.entries(split.metrics).map(([name, values]) =>
      `, ${name} ${values[k] === null ? "none" : number(values[k])}`);
    const curved = this.curved ? `, ${CURVED[state.map][0]} ${this.curved[k] === null ? "none" : number(this.curved[k])}` : "";
    return `${where}: loss ${estimate(split.loss[k], error)}${metrics.join("")}${curved}`;
  }

  draw() {
    this.fit();
    this.element.querySelector(".shown").textContent = `${this.name}, ${this.split.samples} samples`;
    this.element.querySelector(".mapped").textContent = this.curved
      ? `; the map shows ${CURVED[state.map][1]}, hatched where the 3 × 3 points around are not all numbers on the scale` : "";
    for (const part of this.element.querySelectorAll(".points")) part.hidden = part.dataset.split !== this.name;
    this.high = this.heights();
    this.element.querySelector(".hatched").textContent = this.line ? "" : this.hatched();
    this.basin = this.flooded();
    this.kept.clear();
    this.redraw();
  }
  // What the hatches of the loss mean.
  hatched() {
    if (this.curved) return "";
    const lacks = [...new Set(this.high.map((_, k) => this.lack(k)))].filter((word) => word && word !== "not measured");
    return lacks.map((word) => ` · hatched${word === "NaN" ? "" : " on grey"}: ${word}`).join("");
  }
  // As high as equal units of both axes make it.
  fit() {
    if (!this.held.equal) return;
    const wide = this.map.clientWidth, [x, y] = [this.held.x, this.held.y].map(edges).map(reach);
    this.map.style.height = `${Math.round(Math.min((y / x) * (wide - BOX.left - BOX.right) + BOX.top + BOX.bottom, 1.15 * wide))}px`;
  }
  redraw() {
    this.output.textContent = this.told();
    this.output.title = `loss ${this.split.loss[this.at(...this.cursor)]}`;
    if (this.line) drawCurve(this); else this.drawMap();
    if (this.surface) this.drawSurface();
  }

  // Where x and y are on the map, in CSS pixels; BOX is its margin.
  frame(wide, high) {
    const ex = edges(this.held.x), ey = this.line ? null : edges(this.held.y);
    const span = [wide - BOX.left - BOX.right, high - BOX.top - BOX.bottom];
    if (this.held.equal) {
      const unit = Math.min(span[0] / reach(ex), span[1] / reach(ey));
      [span[0], span[1]] = [unit * reach(ex), unit * reach(ey)];
    }
    const x = (value) => BOX.left + ((value - ex[0]) / reach(ex)) * span[0];
    const y = ey && ((value) => BOX.top + (1 - (value - ey[0]) / reach(ey)) * span[1]);
    const back = (px, py) => [ex[0] + ((px - BOX.left) / span[0]) * reach(ex),
      ey && ey[0] + (1 - (py - BOX.top) / span[1]) * reach(ey)];
    return { ex, ey, x, y, back, bottom: BOX.top + span[1], right: BOX.left + span[0] };
  }

  drawMap() {
    const { pen, wide, high } = prepared(this.map), frame = this.frame(wide, high);
    this.below(this.map, pen, () => {
      this.cells(pen, frame);
      this.contours(pen, frame);
      this.axes(pen, frame, wide);
      this.bar(pen, frame);
      for (const [, mark] of this.marks((x, y) => [frame.x(x), frame.y(y)])) mark(pen);
    });
    this.hair(pen, frame, frame.x(this.held.x[this.cursor[0]]), frame.y(this.held.y[this.cursor[1]]), ["#fff", "#000"]);
  }
  // The cursor's lines, open in the middle: what is there stays visible.
  hair(pen, frame, x, y, colours) {
    const level = [[[BOX.left, y], [Math.max(BOX.left, x - OPEN), y]], [[Math.min(x + OPEN, frame.right), y], [frame.right, y]]];
    const upright = [[[x, BOX.top], [x, Math.max(BOX.top, y - OPEN)]], [[x, Math.min(y + OPEN, frame.bottom)], [x, frame.bottom]]];
    this.stroke(pen, this.line ? upright : [...level, ...upright], ...colours);
  }
  // What lies below the cursor is drawn once and kept, until something else than the cursor changes.
  below(canvas, pen, draw) {
    const kept = this.kept.get(canvas);
    if (kept && kept.width === canvas.width && kept.height === canvas.height) {
      pen.drawImage(kept, 0, 0, canvas.clientWidth, canvas.clientHeight);
      return;
    }
    draw();
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [canvas.width, canvas.height];
    copy.getContext("2d").drawImage(canvas, 0, 0);
    this.kept.set(canvas, copy);
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
    const lines = hatch(pen);
    for (let i = 0; i < this.held.x.length; i++) {
      const [left, right] = [frame.x(frame.ex[i]), frame.x(frame.ex[i + 1])].map(snapped);
      for (let j = 0; j < this.ny; j++) {
        const k = this.at(i, j), top = snapped(frame.y(frame.ey[j + 1])), shade = this.shade(k);
        const box = [left, top, right - left, snapped(frame.y(frame.ey[j])) - top];
        pen.fillStyle = shade ?? (this.high[k] > 1 ? theme.edge : theme.page);
        pen.fillRect(...box);
        if (shade === null && this.split.status[k] !== "u") { pen.fillStyle = lines; pen.fillRect(...box); }
      }
    }
  }
  // A cell's colour; null where it has no number, or none on the scale.
  shade(k) {
    if (!this.curved) return this.high[k] <= 1 ? colour(this.high[k]) : null;
    return this.curved[k] === null ? null : this.key().shade(this.key().height(this.curved[k]));
  }
  // The colours and ticks of what the map shows.
  key() {
    if (!this.curved) return { shade: colour, ticks: this.scale.ticks, height: (loss) => this.height(loss) };
    if (state.map === "share") return { shade: colour, ticks: [0, 0.25, 0.5, 0.75, 1], height: (share) => share };
    const limit = data.scales[this.held.scale].curvature;
    return { shade: signed, height: (value) => 0.5 + 0.5 * (value / limit),
      ticks: [-1, -0.5, 0, 0.5, 1].map((t) => Number((t * limit).toPrecision(2))) };
  }
  // Marching squares; a cell with a corner that is no number has no lines.
  contours(pen, frame) {
    pen.strokeStyle = this.curved && state.map !== "share" ? "rgba(0, 0, 0, 0.3)" : "rgba(255, 255, 255, 0.6)";
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
  bar(pen, frame) {
    const [left, top, high] = [frame.right + 10, BOX.top + 16, frame.bottom - BOX.top - 16], key = this.key();
    for (let k = 0; k < 64; k++) {
      pen.fillStyle = key.shade(1 - k / 63);
      pen.fillRect(left, top + (k / 64) * high, 10, high / 64 + 0.5);
    }
    pen.fillStyle = theme.ink;
    pen.textAlign = "left";
    let last = Infinity;
    for (const value of key.ticks) {
      const y = top + (1 - key.height(value)) * high;
      if (last - y > 12) { pen.fillText(tick(value), left + 14, y + 4); last = y; }
    }
    if (this.scale.clipped && !this.curved) pen.fillText(`▨ > ${tick(this.scale.high)}`, left - 6, BOX.top + 8);
  }

  // [depth, a function that draws it]: the basin of the point that is marked, the points, and rings that nothing hides.
  marks(place) {
    const points = this.split.points, chosen = points[this.marked], found = [];
    for (const k of this.basin ?? []) {
      const [i, j] = [Math.floor(k / this.ny), k % this.ny];
      const [x, y, deep] = place(this.held.x[i], this.line ? null : this.held.y[j], this.split.loss[k]);
      found.push([deep, (pen) => dot(pen, x, y)]);
    }
    points.forEach((point, k) => {
      const [x, y, deep] = place(point.x, point.y, point.loss);
      found.push([deep, (pen) => symbol(pen, point.kind, x, y, point.sure ? 5 : 3)]);
      if (!chosen || ![this.marked, chosen.into, chosen.saddle].includes(k)) return;
      found.push([-Infinity, (pen) => ring(pen, x, y, k === this.marked ? "#ff3b30" : "#ffd60a")]);
    });
    const { lowest, centre } = this.split, single = [];
    if (centre !== null) single.push([plus, 0, 0, centre]);
    if (lowest !== null) single.push([star, this.held.x[Math.floor(lowest / this.ny)], this.line ? null : this.held.y[lowest % this.ny], this.split.loss[lowest]]);
    for (const [draw, a, b, loss] of single) {
      const [x, y, deep] = place(a, b, loss);
      found.push([deep, (pen) => draw(pen, x, y)]);
    }
    return found;
  }
  // A basin is the part below the grid's pass where it drains that is joined to its minimum, by edges of the triangulation.
  flooded() {
    const point = this.split.points[this.marked];
    if (!point || point.until === undefined) return null;
    const wide = this.held.x.length, start = point.from;
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
}
