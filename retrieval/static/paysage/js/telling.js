// The search page in words: how an answer was found, and the rows of saved searches.
import { el, t } from "./common.js";

export function planWords(plan) {
  const kinds = { exact: t("compared exactly"), index: t("found through an index"), sql: t("sorted by area") };
  const words = [
    kinds[plan.kind] ?? plan.kind,
    t(plan.matching_is_lower_bound ? "over %s matching" : "%s matching", plan.matching),
  ];
  if (plan.compared) words.push(t("%s compared", plan.compared));
  if (plan.recall) words.push(t("recall last measured %s", plan.recall.at_10));
  else if (plan.kind === "index") words.push(t("recall of such a query was not measured"));
  return [...words, plan.metric, plan.release, `${plan.ms} ms`].join(" · ");
}

/** A saved search; one that cannot be answered stands there too, with the reason. */
export function savedRow(one, open, drop) {
  const link = el("a", { href: `?q=${encodeURIComponent(JSON.stringify(one.query))}`, onclick: (event) => open(event, one) }, one.name);
  return el("li", { class: "row tight between" },
    one.error ? el("span", {}, link, el("span", { class: "soft small" }, ` ${one.error.message}`)) : link,
    el("span", { class: "row tight" },
      one.new ? el("span", { class: "chip" }, t("%s new", one.new)) : null,
      one.own ? null : el("span", { class: "soft small" }, one.owner),
      one.removable ? el("button", { type: "button", class: "quiet small", "aria-label": one.own ? t("Delete %s", one.name) : t("Share %s no longer", one.name), onclick: () => drop(one) }, "×") : null));
}
