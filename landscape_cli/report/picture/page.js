// The switches.
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
