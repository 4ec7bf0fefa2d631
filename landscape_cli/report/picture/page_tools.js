// Colours, numbers and strokes that every picture shares.
const data = JSON.parse(document.getElementById("data").textContent);
const SAID = { u: "not measured", n: "not a number (NaN)", i: "infinite", m: "minus infinity" };
const LOWEST = "#ff5a36"; // as LOWEST in theme.py
const OPEN = 11; // CSS pixels around the cursor without its lines
const ABOVE = 1.05, LEVELS = 16, TINY = Number.MIN_VALUE, COARSE = 50; // rows of the surface while it turns
const BOX = { left: 58, right: 74, top: 10, bottom: 44 };
const UNIT = "in loss / parameter distance², the colours end at 95 % of the cells";
const CURVED = {
  lowest: ["λmin", `the lowest curvature λmin ${UNIT}`],
  highest: ["λmax", `the highest curvature λmax ${UNIT}`],
  share: ["-λmin/|λmax|", "the share of negative curvature -λmin/|λmax|, 0 where λmin ≥ 0"],
};
const state = { log: false, split: null, map: "loss" };
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const number = (value) => String(Number(value.toPrecision(6)));
// Both to two digits of the error, as the report has them; without one to six digits.
const estimate = (value, error) => {
  if (!(error > 1e-14 * Math.abs(value))) return number(value);
  const [power, last] = [Math.max(Math.abs(value), error), error].map((size) => Math.floor(Math.log10(size)));
  const plain = power >= -4 && power < 7, whole = plain ? 0 : power;
  const end = plain ? "" : `e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
  const [told, off] = [value, error].map((size) => (size / 10 ** whole).toFixed(Math.max(0, 1 - last + whole)));
  const zero = !/[1-9]/.test(told); // which has no sign
  return `${zero ? (plain ? told.replace("-", "") : "0") : told + end} ± ${off}${end}`;
};
const tick = (value) => {
  const size = Math.abs(value);
  return size === 0 || (size >= 1e-3 && size < 1e5) ? String(Number(value.toPrecision(4))) : value.toExponential(1);
};
// Colours from 0 to 1 between evenly spaced ones.
const ramp = (...hexes) => {
  const stops = hexes.map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  return (height, light = 1) => {
    const at = Math.min(Math.max(height, 0), 1) * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
    return `rgb(${stops[low].map((c, k) => Math.round(Math.min(255, (c + (stops[low + 1][k] - c) * (at - low)) * light)))})`;
  };
};
const colour = ramp("440154", "481a6c", "472f7d", "414487", "39568c", "31688e", "2a788e", "23888e", "1f988b", "22a884",
  "35b779", "54c568", "7ad151", "a5db36", "d2e21b", "fde725");
const signed = ramp("7f3b08", "b35806", "e08214", "fdb863", "fee0b6", "f7f7f7", "d8daeb", "b2abd2", "8073ac", "542788", "2d004b");
const snapped = (at) => Math.round(at * devicePixelRatio) / devicePixelRatio; // no seams between cells
const nearest = (values, wanted) =>
  values.reduce((best, value, i) => (Math.abs(value - wanted) < Math.abs(values[best] - wanted) ? i : best), 0);
// A cell reaches half-way to its neighbours; the whole range of them is what the picture shows.
const edges = (values) => {
  if (values.length === 1) return [values[0] - 0.5, values[0] + 0.5];
  const inside = values.slice(1).map((value, i) => (value + values[i]) / 2);
  return [2 * values[0] - inside[0], ...inside, 2 * values[values.length - 1] - inside[inside.length - 1]];
};
const reach = (ends) => ends[ends.length - 1] - ends[0];
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

// The axis's own values where they are few, else round ones between its ends.
function spread(values, count) {
  if (values.length <= count) return values;
  const low = values[0], span = values[values.length - 1] - low, power = 10 ** Math.floor(Math.log10(span / count));
  const step = [1, 2, 2.5, 5, 10, 20].map((size) => size * power).find((size) => span / size < count);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor((low + span) / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, k) => Number(((first + k) * step).toPrecision(12)));
}
