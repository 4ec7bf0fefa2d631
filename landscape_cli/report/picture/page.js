// The switches.
const panels = [...document.querySelectorAll(".panel")].map((element) =>
  new Panel(element, data.panels[Number(element.dataset.panel)]));
function drawAll() {
  theme = { page: ink("page"), ink: ink("ink"), faint: ink("faint"), edge: ink("edge"),
    lines: ["line0", "line1", "line2", "line3"].map(ink) };
  for (const panel of panels) panel.draw();
  for (const box of document.querySelectorAll(".scroll")) box.previousElementSibling.textContent = hidden(box);
}
// What of a table is to be scrolled to.
function hidden(box) {
  const rows = box.querySelectorAll("tr:has(td)").length;
  const down = box.scrollHeight > box.clientHeight + 1 ? `${rows} rows, scroll down ↓` : "";
  const right = box.scrollWidth > box.clientWidth + 1 ? "more columns, scroll right →" : "";
  return [down, right].filter(Boolean).join(" · ");
}

const [split, map, spin] = ["split", "map", "spin"].map((id) => document.getElementById(id));
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
  new ResizeObserver(() => requestAnimationFrame(drawAll)).observe(document.querySelector("main"));
}
if (map) {
  state.map = map.value;
  map.addEventListener("change", () => { state.map = map.value; drawAll(); });
}
if (spin) {
  let on = false, waiting = 0;
  const turning = panels.filter((panel) => panel.surface);
  const turn = () => {
    for (const panel of turning) {
      panel.turning = on;
      panel.turn(on ? 0.01 : 0, 0);
    }
    if (on) waiting = requestAnimationFrame(turn);
  };
  spin.disabled = calm.matches;
  spin.addEventListener("click", () => {
    on = !on;
    spin.textContent = on ? "Stop" : "Rotate";
    cancelAnimationFrame(waiting);
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
