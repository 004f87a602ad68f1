// The tour of a first visit: a card that goes from place to place, and never stands in the way.
import { t } from "./common.js";

const card = document.getElementById("tour");
const steps = [...card.querySelectorAll("li")].filter((step) => document.querySelector(step.dataset.at));
const GAP = 14;
let now = 0;
let pointed = null;

/** Puts the card under what it speaks of, above it where there is no room, always whole in view. */
function place() {
  const target = pointed.getBoundingClientRect();
  const own = card.getBoundingClientRect();
  const below = target.bottom + GAP;
  const above = target.top - GAP - own.height;
  const top = below + own.height <= innerHeight || above < 0 ? below : above;
  card.style.top = `${Math.max(GAP, Math.min(top, innerHeight - own.height - GAP))}px`;
  card.style.left = `${Math.max(GAP, Math.min(target.left, document.documentElement.clientWidth - own.width - GAP))}px`;
}

function show(step) {
  now = step;
  pointed?.classList.remove("pointed");
  pointed = document.querySelector(steps[now].dataset.at);
  pointed.classList.add("pointed");
  pointed.scrollIntoView({ block: "nearest" });
  card.querySelector("h2").textContent = steps[now].dataset.title;
  card.querySelector("#tour-text").textContent = steps[now].textContent;
  card.querySelector("#tour-place").textContent = t("%s of %s", now + 1, steps.length);
  card.querySelector("[data-do=back]").hidden = now === 0;
  card.querySelector("[data-do=next]").textContent = now + 1 < steps.length ? t("Next") : t("Done");
  place();
}

function leave() {
  pointed.classList.remove("pointed");
  card.remove();
  removeEventListener("resize", place);
  removeEventListener("scroll", place);
  document.removeEventListener("keydown", keys);
  // a reload or a link to this address is no wish to see it again
  const address = new URL(location.href);
  address.searchParams.delete("tour");
  history.replaceState(history.state, "", address);
  document.getElementById("main").focus();
}

function keys(event) {
  if (event.key === "Escape") leave();
  else if (event.key === "ArrowRight" && card.contains(document.activeElement)) go(1);
  else if (event.key === "ArrowLeft" && card.contains(document.activeElement)) go(-1);
}

function go(by) {
  if (now + by >= steps.length) leave();
  else show(Math.max(0, now + by));
}

card.addEventListener("click", (event) => {
  const wish = event.target.closest("[data-do]")?.dataset.do;
  if (wish === "leave") leave();
  else if (wish) go(wish === "next" ? 1 : -1);
});
document.addEventListener("keydown", keys);
addEventListener("resize", place);
addEventListener("scroll", place, { passive: true });
// the list of collections is renewed while something is parsed: point at the new element
document.addEventListener("htmx:afterSwap", () => { if (card.isConnected) show(now); });
card.hidden = false;
show(0);
card.focus({ preventScroll: true });
