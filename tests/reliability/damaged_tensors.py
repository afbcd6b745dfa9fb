"""Damaged checkpoints, backbones, arrays and exported weights, and what reads them."""

import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pin_memory.exporting import official_names
from pin_memory.exporting.weights import load_safetensors
from pin_memory.networks.backbones import ResNetBackbone
from pin_memory.runs import build, checkpoints
from pin_memory.runs.results import read_confusions
from pin_memory.utils.traces import read_trace
from tests.reliability import mutations
from tests.reliability.cases import VALID, Case, Originals


def torch_bytes(content: Any, zipped: bool = True) -> bytes:
    """What `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def _state(checkpoint: Path, whole: bool = False) -> dict[str, Any]:
    """The checkpoint without its optimiser, and without the large tensors unless it is to stay whole."""
    content = torch.load(checkpoint, weights_only=True, mmap=True)
    kept = {name: value for name, value in content["state_dict"].items() if whole or value.numel() < 2000}
    return {key: content[key] for key in ("pin_memory", "global_step", "epoch") if key in content} | {"state_dict": kept}


def _checkpoint_bytes(number: int) -> Case:
    damage = list(mutations.BYTES)[number % len(mutations.BYTES)]

    def make(folder: Path, draw: random.Random, given: Originals) -> tuple[Callable[[], str], bool]:
        small = _state(given.checkpoint)
        content = torch_bytes(small, zipped=number % 3 != 0)
        path = mutations.write(folder / "last.ckpt", mutations.BYTES[damage](content, draw))
        if number % 2:
            return lambda: checkpoints.read_checkpoint(path) and VALID, damage in mutations.NEVER_WHOLE
        return lambda: official_names.read_released(path) and VALID, damage in mutations.NEVER_WHOLE

    return Case("checkpoint", number, damage, make)


_ODD_TENSORS: tuple[Any, ...] = (
    *mutations.ODD_VALUES, torch.zeros(0), torch.zeros(3, dtype=torch.bool), torch.full((4,), float("nan")),
)  # fmt: skip


def _checkpoint_value(number: int) -> Case:
    def make(folder: Path, draw: random.Random, given: Originals) -> tuple[Callable[[], str], bool]:
        whole = number % 4 == 0
        content = _state(given.checkpoint, whole)
        record, what = mutations.exchanged({"pin_memory": content["pin_memory"], "global_step": content["global_step"]}, draw, _ODD_TENSORS)
        content = {**content, **record} if what != "without pin_memory" else {k: v for k, v in content.items() if k != "pin_memory"}
        path = mutations.write(folder / "run" / "checkpoints" / "last.ckpt", torch_bytes(content))

        def read() -> str:
            method, found = checkpoints.load_method(path)
            build.build_data(found.cfg)
            assert method.network.num_classes == 19
            return VALID

        return read, not whole

    return Case("checkpoint", 1000 + number, "value" if number % 4 else "value_of_a_whole_one", make)


def _backbone(number: int) -> Case:
    reference = {"conv1.weight": torch.zeros(64, 3, 7, 7), "bn1.weight": torch.zeros(64), "fc.weight": torch.zeros(1000, 512)}
    kinds: tuple[tuple[str, Any], ...] = (
        ("a_list", [1]), ("numbers_as_names", {1: torch.zeros(1)}), ("no_tensors", {"conv1.weight": "x"}),
        ("a_number", 3), ("part", reference),
        ("nested", {"state_dict": {"state_dict": reference}}), ("state_dict_none", {"state_dict": None}),
        ("fc_of_another_kind", {"fc.unknown": torch.zeros(1)}), ("empty", {}),
    )  # fmt: skip
    damage, content = kinds[number % len(kinds)]

    def make(folder: Path, draw: random.Random, given: Originals) -> tuple[Callable[[], str], bool]:
        path = mutations.write(folder / "backbone.pth", torch_bytes(content, zipped=number % 2 == 0))
        return lambda: ResNetBackbone(18, pretrained=str(path)) and VALID, True

    return Case("checkpoint", 2000 + number, f"backbone_{damage}", make)


def _arrays(number: int) -> Case:
    way, structural = number % 2, number % 4 < 2
    damage = "value" if structural else list(mutations.BYTES)[number // 4 % len(mutations.BYTES)]

    def make(folder: Path, draw: random.Random, given: Originals) -> tuple[Callable[[], str], bool]:
        arrays: dict[str, Any] = {"step": np.arange(3), "items": np.zeros((3, 19, 4), np.float32)}
        if way:
            arrays = {"bdd100k": np.eye(19, dtype=np.int64)}
        if structural:
            odd = (np.zeros(0), np.array(3), np.zeros((3, 3, 3)), np.array(["x"]), np.array([None, {}], object), np.zeros((3, 4), bool),
                   np.zeros(3, "M8[s]"), np.array([1 + 2j]))  # fmt: skip
            key = draw.choice(list(arrays))
            arrays[key] = draw.choice(odd)
            if draw.random() < 0.2:
                del arrays[key]
        buffer = io.BytesIO()
        (np.savez if number % 3 else np.savez_compressed)(buffer, **arrays)
        content = buffer.getvalue() if structural else mutations.BYTES[damage](buffer.getvalue(), draw)
        mutations.write(folder / ("confusions.npz" if way else "memory_trace.npz"), content)
        bad = not structural and damage in mutations.NEVER_WHOLE
        return (lambda: read_confusions(folder) is not None and VALID) if way else (lambda: read_trace(folder) and VALID), bad

    return Case("npz of memory and scores", number, damage, make)


def _weights(number: int) -> Case:
    structural = number % 3 == 0
    damage = "settings" if structural else list(mutations.BYTES)[number % len(mutations.BYTES)]

    def make(folder: Path, draw: random.Random, given: Originals) -> tuple[Callable[[], str], bool]:
        settings = json.loads(given.exported.with_suffix(".json").read_text())
        content = given.exported.read_bytes()
        if structural:
            settings = mutations.exchanged(settings, draw)[0]
        elif number % 2:
            content = mutations.BYTES[damage](content[:200_000], draw)  # the head and some tensors: always cut, too
        path = mutations.write(folder / "model.safetensors", content)
        text = json.dumps(settings).encode()
        bad = True
        if not structural and not number % 2:
            text, bad = mutations.BYTES[damage](text, draw), damage in mutations.NEVER_WHOLE
        mutations.write(folder / "model.json", text)
        return lambda: load_safetensors(path) and VALID, bad and not structural

    return Case("safetensors and settings", number, damage, make)


def cases() -> Iterator[Case]:
    """All of this file."""
    yield from map(_checkpoint_bytes, range(60))
    yield from map(_checkpoint_value, range(60))
    yield from map(_backbone, range(18))
    yield from map(_arrays, range(48))
    yield from map(_weights, range(30))
