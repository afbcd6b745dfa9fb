"""Text prototypes: one unit vector for each class name, made by a text encoder and kept in a file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pin_memory.memory.geometry import centre
from pin_memory.memory.operations import unit
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.safe_load import load_weights_only
from pin_memory.utils.text_files import WAYS_OUT, text_file
from pin_memory.utils.validation import Count, validated

CLASSES = "classes"
"""Key of the class names, a JSON list, in the metadata of a safetensors file."""
_TOLERANCE = 1e-3  # of a length: rows are stored in half precision


def check_names(found: Sequence[str], classes: Sequence[str], path: str | Path) -> None:
    """Refuse a file whose class names are not those of the labels, in their order."""
    if list(found) != list(classes):
        place = next((k for k, (one, other) in enumerate(zip(found, classes, strict=False)) if one != other), min(len(found), len(classes)))
        theirs, ours = (repr(names[place]) if place < len(names) else "none" for names in (found, classes))
        raise ConfigurationError(
            f"text.path={path}: its rows are of other classes than the labels, or in another order. Class {place} is {theirs} in the file"
            f" and {ours} in the labels. {WAYS_OUT}"
        )


@validated("text")
class TextPrototypes:
    """The embeddings of the class names that a run uses, or what a comparison puts in their place.

    Args:
        path: A .npy, .safetensors, .pt or .pth file of one matrix `(K, D)` with unit rows in the order of the train ids, of which no
            code is run; None for `rows="random"`.
        num_classes: K.
        dim: D, length of a row.
        centred: Subtract the mean over the classes and scale to unit length again, see `centre`.
        rows: "file"; "shuffled", the same rows in a wrong order; "random", orthonormal rows; "checkpoint", zeros of the right shape, in
            whose place a checkpoint has its own.
        seed: Of the order and of the random rows.

    Attributes:
        rows: `(K, D)` float32, unit rows.
        names: The class names that the file gives, or None.

    Raises:
        ConfigurationError: The file is missing, unreadable, of other classes, or its rows are not finite, not of unit length or not of
            length `dim`.
    """

    def __init__(
        self,
        path: str | None = None,
        num_classes: Annotated[int, Field(ge=2)] = 19,
        dim: Count = 512,
        centred: bool = True,
        rows: Literal["file", "shuffled", "random", "checkpoint"] = "file",
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.path, self.num_classes, self.dim, self.centred = path, num_classes, dim, centred
        self.names: list[str] | None = None
        generator = torch.Generator().manual_seed(seed)
        if rows == "checkpoint":
            self.rows = torch.zeros(num_classes, dim, device="cpu")
            return
        if rows == "random":
            self.rows = _orthonormal(num_classes, dim, generator)
        else:
            self.rows, self.names = self._read()
            if rows == "shuffled":
                self.rows = self.rows[_derangement(num_classes, generator)]
        if centred:
            self.rows = centre(self.rows)

    def _read(self) -> tuple[Tensor, list[str] | None]:
        """The rows of the file, not centred, and its class names."""
        rows, names = _checked(text_file(self.path), self.num_classes)
        if rows.shape[1] != self.dim:
            raise ConfigurationError(f"text.path={self.path}: its rows have {rows.shape[1]} numbers. Set text.dim={rows.shape[1]}.")
        return rows, names

    def check_classes(self, classes: Sequence[str]) -> None:
        """Refuse a file that names other classes than the labels have, or in another order."""
        if self.names is not None:
            check_names(self.names, classes, str(self.path))


def _orthonormal(number: int, dim: int, generator: torch.Generator) -> Tensor:
    """Random orthonormal rows `(K, D)`, a simplex that knows nothing of language."""
    if number > dim:
        raise ConfigurationError(f"text.rows=random: {number} orthogonal rows need as many numbers each, found text.dim={dim}.")
    drawn = torch.randn(dim, number, generator=generator, dtype=torch.float64, device="cpu")
    return torch.linalg.qr(drawn).Q.T.float().contiguous()


def _derangement(number: int, generator: torch.Generator) -> Tensor:
    """A random order in which no class keeps its row."""
    order = torch.randperm(number, generator=generator, device="cpu")
    wrong = torch.empty_like(order)
    wrong[order] = order.roll(1)  # each class takes the row of the one before it in the random order
    return wrong


def _checked(path: Path, number: int) -> tuple[Tensor, list[str] | None]:
    """The rows `(K, D)` of a file at unit length, and the class names that it gives; refused where they are no embeddings of K classes."""
    rows, names = _load(path)
    if rows.ndim != 2 or len(rows) != number:
        raise ConfigurationError(
            f"text.path={path}: expected a matrix with one row for each of the {number} classes, found the shape {tuple(rows.shape)}."
        )
    lengths = rows.double().norm(dim=1)
    if bad := (~((lengths - 1).abs() <= _TOLERANCE)).nonzero().flatten().tolist():  # NaN, too
        raise ConfigurationError(
            f"text.path={path}: expected finite rows of length 1 within {_TOLERANCE}, found {lengths[bad[0]]:.4g} in row {bad[0]}"
            f" ({len(bad)} of {number}). Save the encoder's vectors divided by their lengths."
        )
    return unit(rows.float()), names


def _load(path: Path) -> tuple[Tensor, list[str] | None]:
    """The one tensor of a file, and the class names in its metadata."""
    try:
        if path.suffix == ".npy":
            content = np.load(path, allow_pickle=False)
            return torch.from_numpy(np.ascontiguousarray(content, dtype=np.float32)), None
        if path.suffix == ".safetensors":
            return _load_safetensors(path)
    except (OSError, ValueError, TypeError, EOFError, SafetensorError) as error:
        raise ConfigurationError(f"text.path={path} is not a readable {path.suffix} file of numbers ({error}).") from error
    if path.suffix not in (".pt", ".pth"):
        raise ConfigurationError(f"text.path={path}: expected a .npy, .safetensors, .pt or .pth file.")
    content = load_weights_only(path)
    tensors = list(content.values()) if isinstance(content, dict) else [content]
    return _only(tensors, path), None


def _load_safetensors(path: Path) -> tuple[Tensor, list[str] | None]:
    """The tensor of a safetensors file and its class names."""
    with safe_open(path, framework="pt", device="cpu") as content:
        tensor = _only([content.get_tensor(name) for name in content.keys()], path)  # noqa: SIM118 - no dictionary
        names = json.loads((content.metadata() or {}).get(CLASSES, "null"))
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"its metadata has {CLASSES} that are no list of names")
    return tensor, names


def _only(values: Sequence[object], path: Path) -> Tensor:
    """The one floating tensor that a file has to hold."""
    if len(values) != 1 or not isinstance(values[0], Tensor) or not values[0].is_floating_point():
        kinds = [str(value.dtype) if isinstance(value, Tensor) else type(value).__name__ for value in values[:3]]
        raise ConfigurationError(f"text.path={path}: expected one tensor of real numbers, found {len(values)} values ({', '.join(kinds)}).")
    return values[0]
