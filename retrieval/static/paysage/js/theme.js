// Before anything is painted, so that no page flashes in the other colours.
const chosen = localStorage.getItem("theme");
if (chosen && chosen !== "auto") document.documentElement.dataset.theme = chosen;
