// A chart whose plane is a surface too.
class Surface extends Chart {
  // Half a side of the box in CSS pixels, with room for the words beside it.
  size(wide, high) { return Math.min((wide - 100) / 2.85, high / 2.7); }
  // Parallel projection of a box of side 2: x and y turn about the upright, then the eye is raised by `pitch`.
  projection(wide, high) {
    const [c, s, cp, sp] = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
    const size = this.size(wide, high);
    return (x, y, z) => {
      const across = x * c - y * s, deep = x * s + y * c;
      return [wide / 2 + size * across, high / 2 - size * (z * cp + deep * sp), deep * cp - z * sp];
    };
  }
  // Half the sides of the floor; the longer is 1.
  get sides() {
    const [x, y] = [reach(this.held.x), reach(this.held.y)];
    return this.held.equal ? [x / Math.max(x, y), y / Math.max(x, y)] : [1, 1];
  }
  unit(axis, value) {
    const values = axis ? this.held.y : this.held.x, span = reach(values);
    return span > 0 ? ((2 * (value - values[0])) / span - 1) * this.sides[axis] : 0;
  }
  lifted(project) {
    return (x, y, loss) => {
      const height = loss === null ? ABOVE : this.height(loss);
      return project(this.unit(0, x), this.unit(1, y), 1.3 * height - 0.65);
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
      project(this.unit(0, a), this.unit(1, b), 1.3 * this.high[this.at(i, j)] - 0.65)));
    this.floor(pen, project);
    this.losses(pen, project);
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
  floor(pen, project) {
    const [sx, sy] = this.sides, corners = [[-sx, -sy], [sx, -sy], [sx, sy], [-sx, sy]].map(([x, y]) => project(x, y, -0.65));
    pen.strokeStyle = theme.faint;
    pen.lineWidth = 1;
    pen.beginPath();
    corners.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.closePath();
    pen.stroke();
    const middle = project(0, 0, -0.65);
    for (const axis of [0, 1]) {
      const at = (t, side) => project(...(axis ? [side * sx, t * sy] : [t * sx, side * sy]), -0.65);
      const side = at(0, -1)[2] < at(0, 1)[2] ? -1 : 1, values = axis ? this.held.y : this.held.x; // the edge in front
      const out = at(0, side).slice(0, 2).map((p, k) => p - middle[k]), far = Math.hypot(...out) || 1;
      for (const [t, text] of [[-1, tick(values[0])], [0, "ab"[axis]], [1, tick(values[values.length - 1])]]) {
        const [x, y] = at(t, side);
        this.word(pen, text, x + (18 * out[0]) / far, y + (18 * out[1]) / far, out[0] / far);
      }
    }
  }
  // The losses along the upright edge on the left.
  losses(pen, project) {
    const [sx, sy] = this.sides, feet = [[-sx, -sy], [sx, -sy], [sx, sy], [-sx, sy]];
    const [a, b] = feet.reduce((best, foot) => (project(...foot, 0)[0] < project(...best, 0)[0] ? foot : best));
    const [x, low] = project(a, b, -0.65), top = project(a, b, 1.3 * ABOVE - 0.65)[1];
    this.stroke(pen, [[[x, low], [x, top]]], theme.page, theme.faint);
    if (low - top < 24) return; // looked at from above
    let last = Infinity;
    for (const loss of this.scale.ticks) {
      const y = project(a, b, 1.3 * this.height(loss) - 0.65)[1];
      if (last - y <= 13) continue;
      this.word(pen, tick(loss), x - 7, y, -1);
      pen.fillRect(x - 4, Math.round(y), 4, 1);
      last = y;
    }
    this.word(pen, "loss", x, top - 12, 0);
  }
  // Words that begin, end or are centred where they stand: to the right, to the left of something or below it.
  word(pen, text, x, y, side) {
    pen.fillStyle = theme.ink;
    pen.textAlign = side > 0.35 ? "left" : side < -0.35 ? "right" : "center";
    pen.fillText(text, x, y + 4);
  }
}
