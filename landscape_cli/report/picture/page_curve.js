// The loss along a line: of every split a curve with its error, and its accuracy on an axis of its own.
const HEAD = 40, FOOT = 8; // CSS pixels above height 1, where words stand, and below height 0

function drawCurve(chart) {
  const { pen, wide, high } = prepared(chart.map), frame = chart.frame(wide, high), splits = Object.entries(chart.held.splits);
  const level = (height) => frame.bottom - FOOT - height * (frame.bottom - BOX.top - FOOT - HEAD);
  chart.axes(pen, frame, wide);
  gaps(chart, pen, frame);
  upright(pen, frame, chart.scale.ticks.map((loss) => [chart.height(loss), loss]), level, "loss", -1);
  if (splits.some(([, split]) => split.metrics.accuracy)) upright(pen, frame, [0, 0.5, 1].map((a) => [a, a]), level, "accuracy", 1);
  splits.forEach(([name, split], k) => {
    const style = theme.lines[k % theme.lines.length], x = chart.held.x.map(frame.x);
    band(chart, pen, split, x, level, style, frame);
    path(pen, x, chart.heights(split).map((height) => (height > 1 ? NaN : level(height))), style, name === chart.name ? 2.4 : 1.2, []);
    const accuracy = split.metrics.accuracy;
    if (accuracy) path(pen, x, accuracy.map((a) => (a === null ? NaN : level(a))), style, 1, [5, 4]);
  });
  for (const [, mark] of chart.marks((x, _, loss) => [frame.x(x), level(chart.height(loss))])) mark(pen);
  const [i] = chart.cursor, y = level(chart.high[i]);
  chart.hair(pen, frame, frame.x(chart.held.x[i]), Number.isNaN(y) ? frame.bottom : y, [theme.page, theme.ink]);
}
// The ticks and the name of an axis on the left (-1) or on the right (1).
function upright(pen, frame, ticks, level, name, side) {
  const edge = side < 0 ? BOX.left : frame.right;
  pen.fillStyle = theme.ink;
  pen.textAlign = side < 0 ? "right" : "left";
  let last = Infinity;
  for (const [height, value] of ticks) {
    const y = level(height);
    if (last - y <= 12) continue;
    pen.fillText(tick(value), edge + 7 * side, y + 4);
    pen.fillRect(edge + Math.min(4 * side, 0), Math.round(y), 4, 1);
    last = y;
  }
  pen.textAlign = "center";
  pen.save();
  pen.translate(edge + (side < 0 ? -46 : 40), (BOX.top + frame.bottom) / 2);
  pen.rotate(-Math.PI / 2);
  pen.fillText(name, 0, 0);
  pen.restore();
}
// Hatched, with a word, where a split has no number or one above the scale.
function gaps(chart, pen, frame) {
  const found = new Map(), word = (k) => Object.values(chart.held.splits).map((split) => chart.lack(k, split));
  chart.held.x.forEach((_, k) => {
    for (const lack of new Set(word(k))) if (lack) found.set(lack, [...(found.get(lack) ?? []), k]);
  });
  [...found].forEach(([lack, columns], row) => {
    pen.fillStyle = hatch(pen, lack.startsWith("above"));
    for (const k of columns) pen.fillRect(frame.x(frame.ex[k]), BOX.top, frame.x(frame.ex[k + 1]) - frame.x(frame.ex[k]), frame.bottom - BOX.top);
    const half = pen.measureText(lack).width / 2 + 3, middle = frame.x(chart.held.x[columns[Math.floor(columns.length / 2)]]);
    const x = Math.min(Math.max(middle, BOX.left + half), frame.right - half), y = BOX.top + 4 + 15 * row;
    pen.fillStyle = theme.page;
    pen.fillRect(x - half, y, 2 * half, 14);
    pen.fillStyle = theme.ink;
    pen.textAlign = "center";
    pen.fillText(lack, x, y + 11);
  });
}
// A line with a gap where y is NaN.
function path(pen, x, y, style, wide, dash) {
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
// One standard error around the losses on the scale, as far as the frame reaches.
function band(chart, pen, split, x, level, style, frame) {
  pen.save();
  pen.beginPath();
  pen.rect(BOX.left, BOX.top, frame.right - BOX.left, frame.bottom - BOX.top);
  pen.clip();
  pen.fillStyle = style;
  pen.globalAlpha = 0.2;
  for (let i = 1; i < x.length; i++) {
    if ([i - 1, i].some((k) => chart.lack(k, split) || split.stderr[k] === null)) continue;
    const at = (k, sign) => [x[k], level(chart.onward(split.loss[k] + sign * split.stderr[k]))];
    pen.beginPath();
    pen.moveTo(...at(i - 1, 1));
    for (const corner of [at(i, 1), at(i, -1), at(i - 1, -1)]) pen.lineTo(...corner);
    pen.fill();
  }
  pen.restore();
}
