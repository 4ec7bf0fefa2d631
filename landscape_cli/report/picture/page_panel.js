// The same with what keys and pointers do.
class Panel extends Surface {
  constructor(element, held) {
    super(element, held);
    this.listen();
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
    const far = this.places.map(([px, py]) => Math.hypot(px - x, py - y));
    const close = far.reduce((least, d) => (d < least ? d : least), Infinity);
    if (close === Infinity) return;
    let best = -1;
    far.forEach((d, k) => { if (d <= close + 3 && (best < 0 || this.places[k][2] < this.places[best][2])) best = k; });
    this.move(Math.floor(best / this.ny), best % this.ny);
  }
}
