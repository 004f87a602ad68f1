"""Words to a class query: "street with car and trees, no people", in English or Chinese.

Classes are matched by name and synonym only (`synonyms.txt`); what was not used is told.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from retrieval.models import Release
from retrieval.selectors import classes_of

PRESENT = 0.005
"""Share from which a class counts as being in the picture; below it, as absent."""
MAX_CHARACTERS = 500

_NOT = {"no", "without", "not", "except", "excluding", "minus", "lacking", "never"}
_NOT_ZH = ("没有", "不要", "不含", "除了", "除去", "无", "没")
_FILLERS = {
    *("a", "an", "the", "with", "and", "of", "some", "any", "in", "on", "at", "to", "is", "are"),
    *("has", "have", "having", "there", "showing", "containing", "its", "but"),
}
_FILLERS_ZH = ("还有", "以及", "并且", "的", "和", "与", "有", "及", "带", "跟", "在", "里")
_STOPS = {"with", "but", "and with"}
_MIN = (
    *("more than", "greater than", "higher than", "at least", "over", "above", "exceeding"),
    *("≥", ">=", ">", "超过", "大于", "多于", "高于", "至少"),
)
_MAX = (
    *("less than", "fewer than", "lower than", "at most", "up to", "under", "below"),
    *("≤", "<=", "<", "少于", "小于", "低于", "不到", "不足", "最多", "至多"),
)


def _any_of(words: Iterable[str]) -> str:
    """A pattern of one of these, longest first; words of a phrase may stand apart."""
    longest = sorted(words, key=len, reverse=True)
    return "|".join(r"\s+".join(map(re.escape, word.split())) for word in longest)


# A "not" right before a limit turns the limit around: "no more than 30 %", 不超过30%. So it is read as
# part of the limit, before it could be taken for a class that shall be absent.
_LIMIT = re.compile(
    rf"(?P<turned>(?:{_any_of(_NOT)})\s+(?:any\s+)?|(?:{_any_of((*_NOT_ZH, '不', '未'))})\s*)?"
    rf"(?:(?P<least>{_any_of(_MIN)})|(?P<most>{_any_of(_MAX)}))?\s*"
    r"(?P<share>\d+(?:\.\d+)?)\s*(?:%|percent|per cent)\s*(?P<behind>以上|以下)?"
)
_WORD = re.compile(r"[^\W\d_\u3400-\u9fff]+(?:['-][^\W\d_\u3400-\u9fff]+)*")
_HAN = re.compile(r"[\u3400-\u9fff]")
_BREAK = re.compile(r"[,;.!?:，。；！？、|/]")


@dataclass
class Chip:
    """One class that the words ask for.

    Attributes:
        text: the words it comes from.
        alternatives: other classes of the release that they could mean.
    """

    name: str
    text: str
    min: float
    max: float
    alternatives: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As in the grammar's `classes`, with `text` and `alternatives` beside."""
        return {
            "name": self.name,
            "min": self.min,
            "max": self.max,
            "text": self.text,
            "alternatives": list(self.alternatives),
        }


@dataclass
class Meaning:
    """What was understood, and the words that were not used."""

    chips: list[Chip] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    @property
    def query(self) -> dict[str, Any]:
        """The class query, in the grammar."""
        keys = ("name", "min", "max")
        return {"classes": [{k: chip.to_json()[k] for k in keys} for chip in self.chips]}


@lru_cache(maxsize=1)
def concepts() -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(class names, best first; all words) of each line of the data file."""
    found = []
    path = Path(__file__).with_name("synonyms.txt")
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            names, english, chinese = (
                tuple(word.strip() for word in part.split(",") if word.strip())
                for part in line.split("|")
            )
            found.append((names, (names[0], *english, *chinese)))
    return found


def _singulars(word: str) -> list[str]:
    """The word, and what it may be the plural of."""
    forms = [word]
    if word.endswith("ies"):
        forms.append(word[:-3] + "y")
    if word.endswith("ves"):
        forms += [word[:-3] + "f", word[:-3] + "fe"]
    if word.endswith("es"):
        forms.append(word[:-2])
    if word.endswith("s") and not word.endswith("ss"):
        forms.append(word[:-1])
    return forms


def vocabulary(release: Release) -> dict[str, list[str]]:
    """Every word that means something to the release, with its classes, best first."""
    classes = classes_of(release)
    own = {found.name.lower(): found.name for found in classes}
    # Published label sets write several names of one class, as in "building;edifice".
    parts = {p.strip(): name for name in own for p in re.split("[;,/]", name) if p.strip()}
    words: dict[str, list[str]] = {}
    for names, texts in concepts():
        meant = list(dict.fromkeys(own[parts[name]] for name in names if name in parts))
        for text in texts if meant else ():
            words.setdefault(text, [])
            words[text] += [name for name in meant if name not in words[text]]
    for found in classes:
        for text in (found.name.lower(), *re.split("[;,/]", found.name.lower()), found.name_zh):
            if text.strip():
                rest = [name for name in words.get(text.strip(), []) if name != found.name]
                words[text.strip()] = [found.name, *rest]
    return words


class _Reader:
    """Reads a text from left to right."""

    def __init__(self, text: str, words: dict[str, list[str]]) -> None:
        self.text = unicodedata.normalize("NFKC", text).lower()[:MAX_CHARACTERS]
        self.words = words
        self.longest = max((len(w.split()) for w in words), default=1)
        self.longest_han = max((len(w) for w in words if _HAN.match(w)), default=1)
        self.meaning = Meaning()
        self.negated = False
        self.pending: tuple[bool, float, str] | None = None  # a limit whose class is to come
        self.last: Chip | None = None  # the class just read, for "sky over 30 %"
        self.unknown: list[str] = []

    def read(self) -> Meaning:
        position = 0
        while position < len(self.text):
            position = self._step(position)
        self._flush()
        self._leave_pending()
        return self.meaning

    def _leave_pending(self) -> None:
        """A limit without a class is told as unused."""
        if self.pending is not None:
            self.meaning.unused.append(self.pending[2])
            self.pending = None

    def _flush(self) -> None:
        if self.unknown:
            joiner = "" if all(_HAN.match(word) for word in self.unknown) else " "
            self.meaning.unused.append(joiner.join(self.unknown))
            self.unknown = []

    def _step(self, at: int) -> int:
        if _BREAK.match(self.text, at):
            self._flush()
            self.negated, self.last = False, None
            return at + 1
        for read in (self._limit, self._han, self._word):
            end = read(at)
            if end is not None:
                return end
        if not self.text[at].isspace():
            self.unknown.append(self.text[at])
        return at + 1

    def _limit(self, at: int) -> int | None:
        """A share: before its class, or right behind it."""
        match = _LIMIT.match(self.text, at)
        if match is None:
            return None
        is_least = match["behind"] == "以上" if match["behind"] else match["most"] is None
        is_least = is_least != bool(match["turned"])
        share = min(1.0, float(match["share"]) / 100)
        if self.last is not None:
            # "no cars over 10 %": the "no" is the limit's, and the class is not refused.
            is_refused = (self.last.min, self.last.max) == (0.0, PRESENT)
            self._apply(self.last, is_least != is_refused, share)
        else:
            self._leave_pending()
            self.pending = (is_least, share, " ".join(match[0].split()))
            self.negated = False  # "no trees and over 30 % sky" refuses no sky
        return match.end()

    @staticmethod
    def _apply(chip: Chip, is_least: bool, share: float) -> None:
        if is_least:
            chip.min, chip.max = share, 1.0 if chip.max == PRESENT else max(chip.max, share)
        else:
            chip.max = share
            chip.min = 0.0 if chip.min == PRESENT else min(chip.min, share)

    def _han(self, at: int) -> int | None:
        if not _HAN.match(self.text, at):
            return None
        for length in range(self.longest_han, 0, -1):
            word = self.text[at : at + length]
            if len(word) == length and word in self.words:
                self._class(word, word)
                return at + length
        for word in _NOT_ZH:
            if self.text.startswith(word, at):
                self.negated, self.last = True, None
                return at + len(word)
        for word in _FILLERS_ZH:
            if self.text.startswith(word, at):
                return at + len(word)
        self.unknown.append(self.text[at])
        self.last = None
        return at + 1

    def _word(self, at: int) -> int | None:
        first = _WORD.match(self.text, at)
        if first is None:
            return None
        ends, position = [first.end()], first.end()
        while len(ends) < self.longest:
            following = re.compile(r"\s+").match(self.text, position)
            match = following and _WORD.match(self.text, following.end())
            if not match:
                break
            position = match.end()
            ends.append(position)
        for end in reversed(ends):
            phrase = " ".join(self.text[at:end].split())
            for form in _singulars(phrase):
                if form in self.words:
                    self._class(form, phrase)
                    return end
        self._plain(first[0])
        return first.end()

    def _plain(self, word: str) -> None:
        if word in _NOT:
            self.negated, self.last = True, None
        elif word in _FILLERS:
            if word in _STOPS:
                self.negated = False
        else:
            self.unknown.append(word)
            self.last = None
            return
        self._flush()

    def _class(self, word: str, text: str) -> None:
        self._flush()
        name, *others = self.words[word]
        chip = next((c for c in self.meaning.chips if c.name == name), None)
        if chip is None:
            chip = Chip(name, text, PRESENT, 1.0, tuple(others))
            self.meaning.chips.append(chip)
        if self.negated:
            chip.min, chip.max = 0.0, PRESENT
        if self.pending is not None:
            self._apply(chip, *self.pending[:2])
            self.pending = None
        self.last = chip


def read(text: str, release: Release) -> Meaning:
    """The class query that a text means to a release."""
    return _Reader(text, vocabulary(release)).read()
