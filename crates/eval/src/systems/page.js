const cards = [...document.querySelectorAll(".example")];
const buttons = [...document.querySelectorAll("[data-filter]")];
const shown = document.getElementById("shown");
let at = -1;
const matches = (card, filter) => filter === "all" || card.dataset.groups.split(" ").includes(filter);
const visible = () => cards.filter((card) => !card.hidden);
function choose(button) {
  for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
  for (const card of cards) {
    card.hidden = !matches(card, button.dataset.filter);
    card.classList.remove("here");
  }
  shown.textContent = String(visible().length);
  at = -1;
}
function go(step) {
  const list = visible();
  if (list.length === 0) return;
  if (at >= 0) list[at].classList.remove("here");
  at = Math.min(Math.max(at + step, 0), list.length - 1);
  list[at].classList.add("here");
  list[at].focus({ preventScroll: true });
  list[at].scrollIntoView({ block: "start" });
}
for (const button of buttons) {
  button.disabled = !cards.some((card) => matches(card, button.dataset.filter));
  button.addEventListener("click", () => choose(button));
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "j") go(1);
  if (event.key === "k") go(-1);
});
