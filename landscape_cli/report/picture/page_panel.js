// The same with its surface or curve, and what keys and pointers do.
class Panel extends Chart {
  constructor(element, held) {
    super(element, held);
    this.listen();
  }
  // Half a side of the box in CSS pixels, with room for the words beside it.
  size(wide, high) { return Math.min((wide - 60) / 2.85, high / 2.7); }
  // Parallel projection of a box of side 2: x and y turn about the upright, then the eye is raised by `pitch`.
  projection(wide, high) {
    const [c, s, cp, sp] = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
    const size = this.size(wide, high);
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
    const { pen, wide, high } = prepared(this.surface);
    this.below(this.surface, pen, () => this.paint(pen, wide, high));
    const [px, py] = this.places[this.at(...this.cursor)];
    if (Number.isNaN(py)) return;
    pen.fillStyle = "#fff";
    pen.strokeStyle = "#000";
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(px, py, 5, 0, 7);
    pen.fill();
    pen.stroke();
  }
  // From the farthest to the nearest; a mark counts as a little nearer than it is, or its own facets would cover it.
  paint(pen, wide, high) {
    const { x, y } = this.held, project = this.projection(wide, high), rows = this.rows(x.length), columns = this.rows(y.length);
    this.places = x.flatMap((a, i) => y.map((b, j) =>
      project(this.unit(x, a), this.unit(y, b), 1.3 * this.high[this.at(i, j)] - 0.65)));
    this.floor(pen, project, 1 + 20 / this.size(wide, high));
    const nearer = 3 / Math.max(1, Math.min(rows.length, columns.length) - 1) + 16 / Math.min(wide, high);
    const marks = this.marks(this.lifted(project)).map(([deep, mark]) => [4 * (deep - nearer), mark]);
    const parts = [...this.facets(rows, columns), ...marks].sort((one, other) => other[0] - one[0]);
    for (const [, part] of parts) part(pen);
  }
  // The rows of the grid that are drawn: all, but of a large surface that turns every second or third.
  rows(count) {
    const step = this.turning ? Math.ceil(count / COARSE) : 1;
    return Array.from({ length: Math.ceil((count - 1) / step) + 1 }, (_, k) => Math.min(k * step, count - 1));
  }
  // [depth, a function that draws it] of each facet whose corners are all numbers.
  facets(rows, columns) {
    const found = [];
    for (let p = 0; p + 1 < rows.length; p++) {
      for (let q = 0; q + 1 < columns.length; q++) {
        const [i, k, j, l] = [rows[p], rows[p + 1], columns[q], columns[q + 1]];
        const four = [this.at(i, j), this.at(k, j), this.at(k, l), this.at(i, l)], heights = four.map((at) => this.high[at]);
        const mean = (heights[0] + heights[1] + heights[2] + heights[3]) / 4;
        if (Number.isNaN(mean)) continue;
        const slopes = [(heights[1] - heights[0]) / (k - i), (heights[3] - heights[0]) / (l - j)];
        const style = heights.some((height) => height > 1) ? theme.edge : colour(mean, this.light(...slopes));
        const corners = four.map((at) => this.places[at]);
        found.push([corners.reduce((sum, corner) => sum + corner[2], 0), (pen) => facet(pen, corners, style)]);
      }
    }
    return found;
  }
  light(dx, dy) {
    const along = dx * 0.65 * (this.held.x.length - 1), up = dy * 0.65 * (this.ny - 1);
    return 0.8 + 0.35 * Math.max(0, (1 + 0.5 * along - 0.4 * up) / Math.hypot(along, up, 1) / 1.2);
  }
  floor(pen, project, beside) {
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
    const ends = [["a", x, (t) => [t, -beside]], ["b", y, (t) => [-beside, t]]];
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
    for (const [, mark] of this.marks((x, _, loss) => [frame.x(x), level(this.height(loss))])) mark(pen);
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
    this.kept.clear();
    const point = this.split.points[this.marked];
    if (point) this.move(nearest(this.held.x, point.x), this.line ? 0 : nearest(this.held.y, point.y)); else this.redraw();
  }
  turn(yaw, pitch) {
    this.yaw += yaw;
    this.pitch = Math.min(Math.max(this.pitch + pitch, 0.05), 1.5);
    this.kept.delete(this.surface);
    this.drawSurface();
  }

  // All of the surface again, once it no longer turns.
  rest() {
    if (!this.turning) return;
    this.turning = false;
    this.turn(0, 0);
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
    for (const end of ["pointerup", "pointercancel"]) this.surface.addEventListener(end, () => { held = null; this.rest(); });
    this.surface.addEventListener("pointermove", (event) => {
      if (held) {
        this.turning = true;
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
