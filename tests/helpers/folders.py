"""Run folders made by hand, with whatever names a test wants."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pin_memory.callbacks.panels import write_tiles
from pin_memory.utils.labels import LabelSpace

CLASSES = ("road", "sky", "car")


def results(targets: tuple[str, ...] = ("city", "night"), classes: tuple[str, ...] = CLASSES, stand_in: bool = True) -> dict[str, Any]:
    """A results file with one class that no target has."""
    iou = {name: (None if index == len(classes) - 1 else 0.25 * (index + 1)) for index, name in enumerate(classes)}
    return {
        "method": "erm", "network": "net", "sources": ["gtav"], "protocol": "whole@1", "statistics": "running", "stand_in": stand_in,
        "images_seen": 1234, "selection": "last (step 20)", "source_validation": {"gtav": 0.5}, "mean_miou": 0.375, "seed": 1,
        "targets": {name: {"miou": 0.375, "iou": dict(iou), "images": 2, "layout": "flat", "view": "native"} for name in targets},
        "floors": {"most frequent class": dict.fromkeys(targets, 0.1)},
    }  # fmt: skip


def make_run(
    folder: Path, targets: tuple[str, ...] = ("city", "night"), classes: tuple[str, ...] = CLASSES, side: int = 40, panels: int = 2,
    noise: bool = False, **config: Any,
) -> Path:  # fmt: skip
    """A run folder with results, settings, metrics, panels and the trace of a memory."""
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results(targets, classes)))
    (folder / "config.yaml").write_text(yaml.safe_dump({"name": "mine", "trainer": {"max_steps": 20}, "optimizer": {"lr": 0.5}, **config}))
    rows = ["step,epoch,loss/inner,loss/outer,loss/inner_cohesion,lr,val/miou,val/miou_gtav"]
    rows += [f"{step},0,{2.05 - step / 20},{3.05 - step / 20},{0.5},0.01,," for step in range(1, 21)]
    (folder / "metrics.csv").write_text("\n".join([*rows, "20,0,,,,,0.25,0.25", "21,0,1.5"]) + "\n")  # a run that was cut off
    generator = np.random.default_rng(0)
    items = generator.normal(size=(5, len(classes), 8)).astype(np.float32)
    items[:, -1] = 0  # never written
    np.savez(folder / "memory_trace.npz", step=np.arange(0, 25, 5), items=items)
    _tiles(
        folder / "tiles", targets, LabelSpace(classes, generator.integers(0, 255, (len(classes), 3)).astype(np.uint8)), side, panels, noise
    )
    return folder


def _tiles(folder: Path, targets: tuple[str, ...], space: LabelSpace, side: int, panels: int, noise: bool) -> None:
    generator = np.random.default_rng(1)
    entries = []
    for number, target in enumerate(targets):
        for index in range(panels):
            rgb = generator.integers(0, 256, (side, 2 * side, 3)).astype(np.uint8) if noise else np.full((side, 2 * side, 3), 200, np.uint8)
            truth = generator.integers(0, len(space), (side, 2 * side)) if noise else np.zeros((side, 2 * side), int)
            prediction = generator.integers(0, len(space), (side, 2 * side)) if noise else np.ones((side, 2 * side), int)
            files = write_tiles(folder, f"t{number}_{index}", rgb, truth, prediction, space)
            entries.append({"target": target, "name": f"image {index}", **files})
    content = {"classes": list(space.names), "palette": space.palette.tolist(), "panels": entries}
    (folder / "index.json").write_text(json.dumps(content))
