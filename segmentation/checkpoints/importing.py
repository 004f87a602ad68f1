"""From a published checkpoint to safetensors and a manifest, or a refusal that says why."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from segmentation.checkpoints.layouts import LAYOUTS, Layout, State, detect, network_of
from segmentation.checkpoints.reading import RawCheckpoint, read_checkpoint
from segmentation.checkpoints.rules import ImportOptions, rules_of, with_config_of
from segmentation.errors import CheckpointError, ConfigError
from segmentation.labels import LABEL_SETS, LabelSet
from segmentation.manifest import Manifest, sha256_of
from segmentation.predict import feature_width
from segmentation.pspnet import NetworkConfig, PSPNet

RANKING = {"context": 0.5, "layout": 0.2, "composition": 0.3}
"""Until a release is fitted, context is not whitened and tells pictures apart less well. Fitting it sets
`segmentation.export.RANKING`."""


def _named(keys: list[str]) -> str:
    shown = ", ".join(keys[:3])
    return f"{len(keys)} ({shown}{', …' if len(keys) > 3 else ''})" if keys else "none"


def _own_name(key: str, config: NetworkConfig) -> str:
    # Both stems are `stem` here; published files call the plain one differently.
    return key.replace(".stem.", ".plain_stem.") if config.stem is None else key


def convert(layout: Layout, state: State, config: NetworkConfig) -> State:
    """The same weights under this project's keys, float32.

    Raises:
        CheckpointError: keys are missing or unexpected, or a tensor has another shape.
    """
    with torch.device("meta"):
        network = PSPNet(config)
    wanted = {
        key: tuple(value.shape)
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    theirs = {layout.key(_own_name(key, config)): key for key in wanted}
    missing = sorted(set(theirs) - set(state))
    unexpected = sorted(key for key in set(state) - set(theirs) if not layout.ignores(key))
    if missing or unexpected:
        raise CheckpointError(
            f"The keys are not those of a {config.backbone} PSPNet in {layout.source}'s layout. "
            f"Missing: {_named(missing)}; unexpected: {_named(unexpected)}."
        )
    for key, own in theirs.items():
        if tuple(state[key].shape) != wanted[own]:
            raise CheckpointError(
                f"{key} has shape {tuple(state[key].shape)}; a {config.backbone} PSPNet with "
                f"{config.classes} classes has {wanted[own]} there."
            )
    return {own: state[key].float().contiguous().clone() for key, own in theirs.items()}


def _label_set(name: str) -> LabelSet:
    if name not in LABEL_SETS:
        raise CheckpointError(f"There is no label set {name!r}; known are {', '.join(LABEL_SETS)}.")
    return LABEL_SETS[name]


def _check_labels(labels: LabelSet, classes: int, meta: dict[str, Any]) -> None:
    if classes != len(labels):
        fitting = [one.name for one in LABEL_SETS.values() if len(one) == classes]
        raise CheckpointError(
            f"The checkpoint has {classes} classes, the label set {labels.name!r} has "
            f"{len(labels)}. Label sets with {classes}: {', '.join(fitting) or 'none'}."
        )
    inner = meta.get("meta")
    inner = inner if isinstance(inner, dict) else {}
    data = inner.get("dataset_meta")
    names = inner.get("CLASSES") or (data.get("classes") if isinstance(data, dict) else None)
    if not isinstance(names, (list, tuple)):
        return
    said = {str(one).strip().lower().replace("_", " ") for one in names}
    if len(said & set(labels.classes)) < len(labels) / 2:
        raise CheckpointError(
            f"The checkpoint names its classes {', '.join(sorted(said)[:5])}, …; most of them are "
            f"not in the label set {labels.name!r}."
        )


def _source(file: Path, sha256: str | None, decoder: Path | None) -> list[dict[str, Any]]:
    """Name, digest and size of each file, for the manifest; `file` must have `sha256` if given."""
    entries = [{"file": file.name, "sha256": _check_digest(file, sha256)}]
    if decoder is not None:
        entries.append({"file": decoder.name, "sha256": _check_digest(decoder, None)})
    sizes = [path.stat().st_size for path in (file, decoder) if path is not None]
    return [{**entry, "bytes": size} for entry, size in zip(entries, sizes, strict=True)]


def _completed(options: ImportOptions, layout: Layout, raw: RawCheckpoint) -> ImportOptions:
    options = with_config_of(options, raw.meta)
    if layout.name == "mmseg" and options.window_px == 769 and options.align_corners is None:
        return replace(options, align_corners=True)  # so are all of mmsegmentation's 769 models
    return options


def _context_width(config: NetworkConfig) -> int:
    with torch.device("meta"):
        return feature_width(PSPNet(config))


def _read(file: Path, decoder: Path | None) -> RawCheckpoint:
    raw = read_checkpoint(file)
    if decoder is None:
        return raw
    second = read_checkpoint(decoder)
    both = set(raw.state) & set(second.state)
    if both:
        raise CheckpointError(
            f"{file.name} and {decoder.name} both have {min(both)!r}; an encoder and its decoder "
            "share no key."
        )
    return RawCheckpoint({**raw.state, **second.state}, raw.meta)


def _check_digest(file: Path, sha256: str | None) -> str:
    if not file.is_file():
        raise CheckpointError(f"There is no file {file}.")
    found = sha256_of(file)
    if sha256 and found != sha256.lower():
        raise CheckpointError(
            f"{file.name} is not the file it should be: its sha256 is {found}, not {sha256}. "
            "Download it again from its publisher."
        )
    return found


def _layout(name: str, state: State) -> Layout:
    if name == "auto":
        return detect(state)
    if name not in LAYOUTS:
        raise CheckpointError(f"There is no layout {name!r}; known are auto, {', '.join(LAYOUTS)}.")
    layout = LAYOUTS[name]
    if not layout.fits(state):
        other = detect(state)
        raise CheckpointError(f"The keys are {other.source}'s: use --layout {other.name}, or auto.")
    return layout


def _network(layout: Layout, state: State, options: ImportOptions) -> NetworkConfig:
    fixed = {
        key: value
        for key, value in vars(options).items()
        if key in ("output_stride", "align_corners") and value is not None
    }
    return network_of(layout, state, **fixed)


def _write(state: State, manifest: Manifest) -> Path:
    """Both files under temporary names first, so that nothing half-written carries a real one."""
    folder = manifest.folder
    folder.mkdir(parents=True, exist_ok=True)
    target = manifest.weights_path
    temporary = target.with_suffix(".safetensors.tmp")
    try:
        save_file(state, temporary)
        manifest = replace(manifest, weights_sha256=sha256_of(temporary))
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return manifest.save(folder)


def refuse_taken(name: str, folder: Path) -> None:
    """CheckpointError where weights of the name lie already: a release may be made of them."""
    if (folder / f"{name}.json").exists():
        raise CheckpointError(f"There are weights named {name!r} in {folder}; choose another name.")


def import_checkpoint(
    file: Path,
    *,
    labels: str,
    target_dir: Path,
    decoder: Path | None = None,
    layout: str = "auto",
    name: str | None = None,
    sha256: str | None = None,
    options: ImportOptions | None = None,
    overwrite: bool = False,
) -> Path:
    """Import a published PSPNet so that it answers as the code it came from.

    Args:
        file: torch checkpoint or safetensors; only tensors and plain values are read from it.
        labels: name in `segmentation.labels.LABEL_SETS`.
        target_dir: where NAME.json and NAME.safetensors are written.
        decoder: the second file of CSAIL's layout.
        layout: auto, mmseg, semseg, csail or bubbliiiing.
        name: what the weights are called from now on; by default the file's name.
        sha256: hex digest that `file` must have.
        options: what the file does not say.
        overwrite: weights of the name that are in `target_dir` already.

    Returns:
        Path of the manifest.

    Raises:
        CheckpointError: the file cannot be imported, or its name is taken; the message says why and
            what helps.
    """
    name = name or file.stem
    if "/" in name or name.startswith("."):
        raise CheckpointError(f"{name!r} is no name for weights: no slash, no leading dot.")
    if not overwrite:
        refuse_taken(name, target_dir)
    label_set = _label_set(labels)
    source = _source(file, sha256, decoder)
    raw = _read(file, decoder)
    found = _layout(layout, raw.state)
    options = _completed(options or ImportOptions(), found, raw)
    try:
        config = _network(found, raw.state, options)
        _check_labels(label_set, config.classes, raw.meta)
        state = convert(found, raw.state, config)
        rules = rules_of(found.name, labels, options)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    if not overwrite:  # once more: reading took a while
        refuse_taken(name, target_dir)
    manifest = Manifest(
        name=name,
        title=options.title or f"PSPNet on {config.backbone}, {labels}, from {found.source}",
        labels=label_set,
        network=config.to_json(),
        input=rules.input.to_json(),
        context_width=_context_width(config),
        ranking=RANKING,
        weights_file=f"{name}.safetensors",
        weights_sha256="",
        metrics=options.metrics or {},
        terms=options.terms,
        inference=rules.inference.to_json(),
        source={"layout": found.name, "code": found.source, "files": source, "parity": None},
        folder=target_dir,
    )
    return _write(state, manifest)
