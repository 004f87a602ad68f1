"""What a set of weights is: network, classes, input rule, whitening, ranking, figures. No torch here."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from segmentation.errors import WeightsError
from segmentation.labels import LabelSet

WEIGHTS_DIR = Path(__file__).parent / "weights"
FORMAT = 1
"""Version of the manifest's layout; a file of another version is refused."""


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Manifest:
    """Read from `NAME.json`, beside `NAME.safetensors`.

    Attributes:
        name: what releases and the command line call the weights.
        title: one line for people.
        labels: classes in English and Chinese, with colours.
        network: keyword arguments of `segmentation.pspnet.NetworkConfig`.
        input: keyword arguments of `segmentation.preprocess.InputRule`.
        context_width: D, width of context and region vectors.
        ranking: default weights of context, layout and composition in a score; they sum to 1.
        weights_file: file name of the safetensors beside the manifest.
        weights_sha256: hex digest that the file must have.
        metrics: figures measured when the weights were made.
        terms: under which terms the weights may be used.
        inference: keyword arguments of `segmentation.inference.InferenceRule`.
        source: where imported weights came from: layout, files with their sha256, parity.
        folder: where both files lie.
    """

    name: str
    title: str
    labels: LabelSet
    network: dict[str, Any]
    input: dict[str, Any]
    context_width: int
    ranking: dict[str, float]
    weights_file: str
    weights_sha256: str
    metrics: dict[str, Any] = field(default_factory=dict)
    terms: str = ""
    inference: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    folder: Path = WEIGHTS_DIR

    @property
    def weights_path(self) -> Path:
        """Where the safetensors file lies."""
        return self.folder / self.weights_file

    @property
    def palette(self) -> list[int]:
        """768 values r, g, b, r, … for a palette PNG; index 255 (ignore) and the rest are black."""
        values = [int(colour[i : i + 2], 16) for colour in self.labels.colours for i in (1, 3, 5)]
        return values + [0] * (768 - len(values))

    @classmethod
    def load(cls, name: str | Path) -> Manifest:
        """Manifest of the shipped weights `name`, or at the path of a `.json` file.

        Raises:
            WeightsError: no such file, not a manifest, or of another format version.
        """
        path = Path(name) if str(name).endswith(".json") else WEIGHTS_DIR / f"{name}.json"
        if not path.exists():
            known = ", ".join(sorted(p.stem for p in WEIGHTS_DIR.glob("*.json"))) or "none"
            raise WeightsError(f"No weights named {str(name)!r}; there are: {known}.")
        try:
            values = json.loads(path.read_text())
            if values.pop("format") != FORMAT:
                raise WeightsError(f"{path.name} has another format version than {FORMAT}.")
            labels = values.pop("labels")
            classes, classes_zh, colours = (
                tuple(labels[key]) for key in ("classes", "classes_zh", "colours")
            )
            label_set = LabelSet(
                labels["name"], classes, classes_zh, colours, labels.get("offset", 0)
            )
            return cls(labels=label_set, folder=path.parent, **values)
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{path.name} is not a manifest of weights: {error}") from error

    def save(self, folder: Path) -> Path:
        """Write `NAME.json` into `folder` and return its path."""
        values = asdict(self)
        values.pop("folder")
        path = folder / f"{self.name}.json"
        text = json.dumps({"format": FORMAT, **values}, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
        return path

    def verify_weights(self) -> Path:
        """Path of the weights, once their digest was found right.

        Raises:
            WeightsError: the file is missing or is not the one the manifest was made for.
        """
        if not self.weights_path.exists():
            raise WeightsError(f"{self.weights_file} is missing beside {self.name}.json.")
        found = sha256_of(self.weights_path)
        if found != self.weights_sha256:
            raise WeightsError(
                f"{self.weights_file} was altered: sha256 {found[:12]}…, "
                f"its manifest says {self.weights_sha256[:12]}…."
            )
        return self.weights_path
