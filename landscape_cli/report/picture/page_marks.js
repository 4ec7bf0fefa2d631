// What is drawn on a picture: contour lines, facets, marks.
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
function facet(pen, corners, style) {
  pen.fillStyle = pen.strokeStyle = style;
  pen.lineWidth = 0.6;
  pen.beginPath();
  corners.forEach(([x, y], n) => (n ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.closePath();
  pen.fill();
  pen.stroke();
}
function symbol(pen, kind, x, y, size) {
  pen.beginPath();
  if (kind === "minimum") pen.arc(x, y, size, 0, 7);
  else if (kind === "maximum") { pen.moveTo(x, y - size); pen.lineTo(x + size, y + size); pen.lineTo(x - size, y + size); pen.closePath(); }
  else { pen.moveTo(x - size, y - size); pen.lineTo(x + size, y + size); pen.moveTo(x + size, y - size); pen.lineTo(x - size, y + size); }
  for (const [style, wide] of [["#000", 4], ["#fff", 2]]) { pen.strokeStyle = style; pen.lineWidth = wide; pen.stroke(); }
}
function dot(pen, x, y) {
  for (const [style, size] of [["rgba(0, 0, 0, 0.5)", 2], ["#fff", 1.3]]) {
    pen.fillStyle = style;
    pen.fillRect(x - size, y - size, 2 * size, 2 * size);
  }
}
function ring(pen, x, y, style) {
  pen.beginPath();
  pen.arc(x, y, 11, 0, 7);
  for (const [colour, wide] of [["#000", 5], [style, 3]]) { pen.strokeStyle = colour; pen.lineWidth = wide; pen.stroke(); }
}
// The checkpoint's cross, the lowest point's star.
function plus(pen, x, y) {
  pen.beginPath();
  for (const [dx, dy] of [[8, 0], [0, 8]]) { pen.moveTo(x - dx, y - dy); pen.lineTo(x + dx, y + dy); }
  for (const [style, wide] of [["#000", 4.5], ["#fff", 2]]) { pen.strokeStyle = style; pen.lineWidth = wide; pen.stroke(); }
}
function star(pen, x, y) {
  pen.beginPath();
  for (let k = 0; k < 10; k++) {
    const far = k % 2 ? 2.6 : 6.5, turn = (k * Math.PI) / 5;
    pen.lineTo(x + far * Math.sin(turn), y - far * Math.cos(turn));
  }
  pen.closePath();
  pen.strokeStyle = "#fff";
  pen.lineWidth = 1.6;
  pen.stroke();
  pen.fillStyle = LOWEST;
  pen.fill();
}
// Lines that slant, or cross, on what is below them.
function hatch(pen, crossed = false) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const own = tile.getContext("2d");
  own.strokeStyle = theme.faint;
  own.beginPath();
  for (const shift of [-8, 0, 8]) {
    own.moveTo(shift, 8);
    own.lineTo(shift + 8, 0);
    if (crossed) { own.moveTo(shift, 0); own.lineTo(shift + 8, 8); }
  }
  own.stroke();
  return pen.createPattern(tile, "repeat");
}
