"""Reading checkpoints of strangers: tensors and plain values only, never code.

A `.pth` file is a pickle, and unpickling one can run anything. `torch.load(weights_only=True)` reads a
small allow-list of types instead; nothing here ever loads a file in another way.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from segmentation.errors import CheckpointError

State = dict[str, Tensor]

_NESTS = ("state_dict", "model_state_dict", "model", "net", "network")
_DAMAGED = ("PytorchStreamReader", "Ran out of input", "EOF", "truncated", "corrupt", "storage has")
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


@dataclass(frozen=True)
class RawCheckpoint:
    """What a file holds.

    Attributes:
        state: weights by their keys as stored, without a leading `module.`; on the CPU.
        meta: plain values beside them, such as mmsegmentation's class names.
    """

    state: State
    meta: dict[str, Any] = field(default_factory=dict)


def read_checkpoint(path: Path) -> RawCheckpoint:
    """Weights of a torch checkpoint (zip or legacy format) or a safetensors file.

    Raises:
        CheckpointError: no such file, truncated, another format, code in the pickle, or no weights.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no file {path}.")
    if path.suffix == ".safetensors":
        return _from_values(path, _load_safetensors(path))
    return _from_values(path, _load_pickle(path))


def _load_safetensors(path: Path) -> dict[str, Any]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} is no whole safetensors file: {error}") from error


def _load_pickle(path: Path) -> object:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4)
    if not head:
        raise CheckpointError(f"{path.name} is empty.")
    zipped = head[:2] == b"PK"
    if zipped and not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path.name} is cut off: it begins as a torch file, but its end is missing after "
            f"{size} bytes. Download it again."
        )
    try:
        # mmap spares the copy into memory; the legacy format of torch < 1.6 does not know it.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, str(error))) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError) as error:
        raise CheckpointError(_explain(path, str(error))) from error
    except (TypeError, AttributeError, AssertionError, MemoryError, OverflowError) as error:
        # A hostile or broken pickle can upset the restricted reader in many ways.
        raise CheckpointError(_explain(path, str(error))) from error


def _refusal(path: Path, said: str) -> str:
    """Why the restricted reader stopped. Its own words suggest to load the file without limits."""
    found = _GLOBAL.search(said)
    why = f"reading it would call {found.group(1)}" if found else "it needs more than plain values"
    return (
        f"{path.name} is no checkpoint of weights alone: {why}. It was not read. If you trust "
        "where it came from, open it there and save the bare weights: "
        "torch.save({'state_dict': checkpoint['state_dict']}, 'weights.pth')."
    )


def _explain(path: Path, said: str) -> str:
    """Why a file was not read, in words that help."""
    if "TorchScript" in said:
        return f"{path.name} is a TorchScript archive (a program); the state dict is needed."
    if "tar" in said and "legacy" in said:
        return f"{path.name} is in the .tar format of torch 0.1; save it again with a newer torch."
    if any(word in said for word in _DAMAGED) or not said:
        return f"{path.name} is cut off or damaged ({said[:160]}). Download it again."
    return f"{path.name} is not a torch checkpoint: {said[:200]}"


def _from_values(path: Path, values: object) -> RawCheckpoint:
    meta: dict[str, Any] = {}
    if isinstance(values, dict):
        for nest in _NESTS:
            if isinstance(values.get(nest), dict):
                meta = {key: value for key, value in values.items() if key != nest}
                values = values[nest]
                break
    state = {
        str(key).removeprefix("module."): value
        for key, value in (values.items() if isinstance(values, dict) else ())
        if isinstance(value, Tensor)
    }
    if not state:
        raise CheckpointError(f"{path.name} holds no weights: a state dict of tensors is needed.")
    for key, value in state.items():
        if value.is_sparse or value.is_quantized or value.device.type != "cpu":
            raise CheckpointError(f"{path.name}: {key} is not a plain dense tensor.")
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise CheckpointError(f"{path.name}: {key} holds numbers that are not finite.")
    return RawCheckpoint(state, meta)
