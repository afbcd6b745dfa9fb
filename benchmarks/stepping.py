"""Methods that step without a Trainer, made from the command line's settings: what the benchmarks time is what users run."""

import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from pin_memory.methods import Method
from pin_memory.runs.build import build_method
from pin_memory.runs.provenance import provenance
from pin_memory.utils.config import config_directory
from pin_memory.utils.files import write_text
from tests.helpers.stepping import WithoutTrainer

COMMON = ("network.backbone.pretrained=null", "network.channels_last=false", "optimizer.lr=1.0e-4", "paths.run=unused")
"""Before the overrides of what is measured: no download, the plain memory order as the base to compare with, and steps so small that a
deep network stays finite on random weights and images."""


class Stepping(WithoutTrainer):
    """In front of a method's class: steps without a Trainer, and logs nothing."""

    def log_losses(self, **terms: Any) -> None:
        """Keep them for the check of the step; Lightning would take them, too."""
        self.losses |= terms

    def step(self, batch: dict[str, dict[str, Any]], dtype: torch.dtype) -> None:
        """One whole iteration: forward and backward passes, optimiser step, commit of the memory."""
        self.on_train_batch_start(batch, self.steps)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            self.training_step(batch, self.steps)


def make_method(overrides: Sequence[str], device: str) -> Any:
    """The method of these overrides of `pin_memory.train`, from random weights, ready to `step`."""
    torch.manual_seed(0)
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        cfg = compose("train", [*COMMON, *overrides])
    method: Method = build_method(cfg).train()
    if device != "cpu":  # moving tensors without data is not possible
        method.to(device)
    method.__class__ = type("Stepping", (Stepping, type(method)), {})
    method.prepare()  # type: ignore[operator]
    return method


def make_batch(domains: int, images: int, size: int, device: str) -> dict[str, dict[str, Any]]:
    """Random images and blocky labels of each domain, the same for every method."""
    generator = torch.Generator().manual_seed(1)
    batch = {}
    for index in range(domains):
        coarse = torch.randint(0, 19, (images, size // 16, size // 16), generator=generator)
        label = coarse.repeat_interleave(16, 1).repeat_interleave(16, 2)
        image = torch.randn(images, 3, size, size, generator=generator)
        batch[f"domain{index}"] = {"image": image.to(device), "label": label.to(device), "name": []}
    return batch


def seconds(method: Any, batch: dict[str, dict[str, Any]], dtype: torch.dtype, clock: Callable[[], float] = time.perf_counter) -> float:
    """Duration of one whole iteration, the device's work included, by a clock in seconds."""
    start = clock()
    method.step(batch, dtype)
    wait(method)
    return clock() - start


def wait(method: Any) -> None:
    """Wait until the device has finished."""
    if next(method.parameters()).is_cuda:
        torch.cuda.synchronize()


def matmul_rate(device: str, dtype: torch.dtype, size: int = 2048) -> float:
    """Floating point operations a second of a square matrix product, the best of several."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(8):
        start = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def processor() -> str:
    """What the figures were measured on."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    named = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return named[0].partition(":")[2].strip() if named else platform.processor() or platform.machine()


def resident_mib(field: str) -> float:
    """Resident memory of this process: now (`VmRSS`) or at its peak (`VmHWM`); Linux."""
    (line,) = (line for line in _lines("/proc/self/status") if line.startswith(field))
    return int(line.split()[1]) / 1024


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def ratio(times: list[dict[str, float]], name: str, base: str) -> dict[str, float]:
    """Median, smallest and largest of the ratios round by round, in which a drift of the machine's speed cancels."""
    ratios = [t[name] / t[base] for t in times]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def headline(result: dict[str, Any]) -> str:
    """Machine, versions and date of a result, for the line above its table."""
    p = result["provenance"]
    threads = f"{result['settings']['threads']} threads, " if not p["accelerators"] else ""
    return f"{result['processor']}, {threads}torch {p['packages']['torch']}, Python {p['python']}, {p['date'][:10]}"


def write(result: dict[str, Any], text: str, folder: Path, name: str) -> None:
    """Keep a result as `name.json` and `name.md`, and print the latter."""
    write_text(folder / f"{name}.json", json.dumps(result, indent=2) + "\n")
    write_text(folder / f"{name}.md", text)
    print(text, f"Written to {folder / name}.json and .md", sep="\n")


def about(settings: dict[str, Any]) -> dict[str, Any]:
    """What every result holds besides its figures."""
    return {"settings": settings, "processor": processor(), "provenance": provenance()}
