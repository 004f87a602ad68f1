// What every page's script shares: words, requests, short notices, the theme.

/** A text in the page's language; %s is replaced by the values in turn. */
export function t(text, ...values) {
  const known = window.django?.gettext ? window.django.gettext(text) : text;
  return values.reduce((said, value) => said.replace("%s", value), known);
}

/** The same for a number of things: `one` for a single one, `many` otherwise; %s is the number. */
export function tn(one, many, count, ...values) {
  const known = window.django?.ngettext ? window.django.ngettext(one, many, count)
    : count === 1 ? one : many;
  return [count, ...values].reduce((said, value) => said.replace("%s", value), known);
}

// Names that answers carry and pages translate, here for translators.
export const names = () => [
  t("context"), t("layout"), t("composition"), t("region"), t("share"),
  t("landscape"), t("portrait"), t("square"), t("over %s matching"), t("%s matching"),
];

export function csrf() {
  return document.querySelector("meta[name=csrf]").content;
}

/** JSON of a request; throws an Error with the server's own words when it is refused. */
export async function ask(url, { method = "GET", body, headers = {}, signal } = {}) {
  const options = { method, signal, headers: { Accept: "application/json", ...headers } };
  if (method !== "GET") options.headers["X-CSRFToken"] = csrf();
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(t("The connection was lost."));
  }
  let found = null;
  try {
    found = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error; // given up between head and body
    // otherwise no body, or a proxy's page
  }
  if (!answer.ok) {
    const failure = new Error(found?.error?.message ?? t("The server answered %s.", answer.status));
    failure.status = answer.status;
    throw failure;
  }
  return found;
}

/** A short notice at the foot of the page, read out by screen readers; may carry one action. */
export function notice(text, { action, label, seconds = 6 } = {}) {
  const place = document.getElementById("notices");
  const item = document.createElement("p");
  item.className = "toast";
  item.append(text);
  const close = () => item.remove();
  if (action) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.addEventListener("click", () => { close(); action(); });
    item.append(" ", button);
  }
  place.append(item);
  setTimeout(close, 1000 * seconds);
}

export function data(id) {
  const found = document.getElementById(id);
  return found ? JSON.parse(found.textContent) : null;
}

/** Make an element: el("a", {href: "/"}, "text", child). */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Whether keys are meant for a form field and not for the page. */
export function typing(event) {
  const at = event.target;
  return event.ctrlKey || event.metaKey || event.altKey
    || at.matches?.("input:not([type=checkbox]), textarea, select, [contenteditable]");
}

function themes() {
  const button = document.getElementById("theme");
  if (!button) return;
  const order = ["auto", "light", "dark"];
  const show = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const names = { auto: t("as the system"), light: t("light"), dark: t("dark") };
    button.setAttribute("aria-label", t("Colours: %s", names[theme]));
    button.title = button.getAttribute("aria-label");
    button.dataset.shown = theme;
  };
  let theme = localStorage.getItem("theme") ?? "auto";
  show(theme);
  button.addEventListener("click", () => {
    theme = order[(order.indexOf(theme) + 1) % order.length];
    localStorage.setItem("theme", theme);
    show(theme);
  });
}

themes();

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
});

// Widths of bars come as data: the content policy allows no inline styles.
export function layBars(root = document) {
  for (const bar of root.querySelectorAll("[data-share]")) bar.style.width = `${bar.dataset.share}%`;
  for (const one of root.querySelectorAll("[data-aspect]")) {
    one.style.setProperty("--ratio", one.dataset.aspect / 1000);
  }
}

layBars();
document.addEventListener("htmx:load", (event) => layBars(event.target));

// A list that is refreshed must not lose what somebody has just ticked in it.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target.id === "jobs" && event.target.querySelector("input:checked")) event.preventDefault();
});
