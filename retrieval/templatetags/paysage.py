"""Filters of the pages: class names in the reader's language, shares, lengths of time."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.translation import get_language, gettext, gettext_noop, ngettext

from retrieval.models import SemanticClass
from retrieval.phrases import said

register = template.Library()
register.filter(said)


@register.filter
def named(found: SemanticClass) -> str:
    """The class's name in the language of the page."""
    if (get_language() or "").startswith("zh") and found.name_zh:
        return found.name_zh
    return found.name


@register.filter
def percent(share: float | None) -> str:
    """A share 0..1 with one decimal, without its sign."""
    return "" if share is None else f"{100 * share:.1f}"


@register.filter
def duration(seconds: float | None) -> str:
    """Seconds in words: the two largest units at most."""
    if seconds is None:
        return ""
    seconds = round(seconds)
    if seconds < 60:
        return ngettext("%(n)d second", "%(n)d seconds", seconds) % {"n": seconds}
    minutes = round(seconds / 60)
    if minutes < 60:
        return ngettext("%(n)d minute", "%(n)d minutes", minutes) % {"n": minutes}
    hours, minutes = divmod(minutes, 60)
    return gettext("%(hours)d h %(minutes)d min") % {"hours": hours, "minutes": minutes}


# Names of vector spaces as answers carry them, here for translators.
SPACE_NAMES = (
    gettext_noop("context"),
    gettext_noop("layout"),
    gettext_noop("composition"),
    gettext_noop("region"),
    gettext_noop("share"),
)

_STATES = {
    # Translators: states of a picture's analysis
    "queued": (gettext_noop("waiting"), gettext_noop("Waits for a worker.")),
    "running": (gettext_noop("being parsed"), gettext_noop("A worker is at it.")),
    "done": (gettext_noop("parsed"), gettext_noop("Mask and vectors are there.")),
    "rejected": (gettext_noop("refused"), gettext_noop("The picture itself cannot be used.")),
    "failed": (
        gettext_noop("failed"),
        gettext_noop("Something of ours failed; trying again may help."),
    ),
    "quarantined": (
        gettext_noop("set aside"),
        gettext_noop("Parsing it ended its worker again and again."),
    ),
}


@register.filter
def state_word(state: str) -> str:
    """What people call a state of an analysis."""
    return gettext(_STATES.get(state, (state, ""))[0]) if state else ""


@register.filter
def state_meaning(state: str) -> str:
    """What a state means, in a sentence."""
    return gettext(_STATES.get(state, ("", ""))[1]) if state in _STATES else ""


@register.filter
def share_rows(areas: Any) -> list[tuple[Any, float, float]]:
    """(class, start, width) in percent of a stacked bar, from (class, share 0..1) rows."""
    rows, start = [], 0.0
    for found, share in areas:
        rows.append((found, round(start, 2), round(100 * share, 2)))
        start += 100 * share
    return rows
