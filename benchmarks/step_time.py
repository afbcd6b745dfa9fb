"""Seconds and peak memory of one training iteration: Pin the Memory against ERM on the same images.

    python -m benchmarks.step_time [--depth 50 --domains 2 --images 2 --size 128 --threads 2 --pairs 9 --output DIR]

The two methods step in turn (A B A B ...) in one process, so that a drift of the machine's speed hits both; the quoted ratio is the median
of the ratios pair by pair. Peak memory is read in a process of its own per method. Writes `step_time.json` and `step_time.md`.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pin_memory.files import write_text
from pin_memory.memory import CategoricalMemory
from pin_memory.networks import MemorySegmenter, ResNetBackbone
from pin_memory.provenance import provenance
from tests.methods.stepping import ByHand, ERMByHand, PinTheMemoryByHand

METHODS = ("erm", "pin_the_memory", "pin_the_memory_second_order")


def build(method: str, depth: int) -> ByHand:
    """The method on a fresh DeepLabV3+ at output stride 16."""
    torch.manual_seed(0)
    memory = None if method == "erm" else CategoricalMemory()
    network = MemorySegmenter(ResNetBackbone(depth), memory=memory)
    optimizer = partial(torch.optim.SGD, lr=1e-3, momentum=0.9, weight_decay=5e-4)
    if method == "erm":
        return ERMByHand(network, optimizer).prepare()
    return PinTheMemoryByHand(network, optimizer, first_order=method == "pin_the_memory").prepare()


def make_batch(domains: int, images: int, size: int) -> dict[str, dict[str, Any]]:
    """Random images and blocky labels of each domain, the same for every method."""
    generator = torch.Generator().manual_seed(1)
    batch = {}
    for index in range(domains):
        coarse = torch.randint(0, 19, (images, size // 16, size // 16), generator=generator)
        label = coarse.repeat_interleave(16, 1).repeat_interleave(16, 2)
        batch[f"domain{index}"] = {"image": torch.randn(images, 3, size, size, generator=generator), "label": label, "name": []}
    return batch


def seconds(method: ByHand, batch: dict[str, dict[str, Any]]) -> float:
    """Duration of one whole iteration: forward, backward, optimiser step, commit."""
    start = time.perf_counter()
    method.training_step(batch, 0)
    return time.perf_counter() - start


def peak_memory(method: str, arguments: argparse.Namespace) -> float:
    """Peak resident MiB of three iterations above what the process held before the first, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.step_time", "--memory-of", method]
    for name in ("depth", "domains", "images", "size", "threads"):
        command += [f"--{name}", str(getattr(arguments, name))]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_memory(arguments: argparse.Namespace) -> float:
    """The body of `peak_memory`'s process."""
    method, batch = build(arguments.memory_of, arguments.depth), make_batch(arguments.domains, arguments.images, arguments.size)
    Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak so far, importing torch takes more than a small network
    before = resident_mib("VmRSS")
    for _ in range(3):
        method.training_step(batch, 0)
    return resident_mib("VmHWM") - before


def resident_mib(field: str) -> float:
    """Resident memory of this process: now (`VmRSS`) or at its peak (`VmHWM`)."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Times in turn, then memory."""
    batch = make_batch(arguments.domains, arguments.images, arguments.size)
    made = {name: build(name, arguments.depth) for name in METHODS}
    for method in made.values():
        seconds(method, batch)  # warm-up
    times = [{name: seconds(method, batch) for name, method in made.items()} for _ in range(arguments.pairs)]
    rows = {
        name: {
            "seconds": statistics.median(t[name] for t in times),
            "ratio_to_erm": statistics.median(t[name] / t["erm"] for t in times),
            "ratio_range": [min(t[name] / t["erm"] for t in times), max(t[name] / t["erm"] for t in times)],
            "peak_mib": peak_memory(name, arguments),
        }
        for name in METHODS
    }
    settings = {k: v for k, v in vars(arguments).items() if k not in ("memory_of", "output")}
    return {"settings": settings, "cpu": platform.processor() or platform.machine(), "provenance": provenance(), "methods": rows}


def markdown(result: dict[str, Any]) -> str:
    """The result as a table."""
    s, p = result["settings"], result["provenance"]
    lines = [
        f"DeepLabV3+ ResNet-{s['depth']}, {s['domains']} domains x {s['images']} images x {s['size']} px, float32,"
        f" {s['threads']} CPU threads, torch {p['packages']['torch']}, Python {p['python']}, {p['date'][:10]};"
        f" medians of {s['pairs']} paired iterations.",
        "",
        "| method | s / iteration | ratio to erm (min-max) | peak MiB above start | ratio to erm |",
        "|---|---|---|---|---|",
    ]
    for name, row in result["methods"].items():
        low, high = row["ratio_range"]
        memory = row["peak_mib"] / result["methods"]["erm"]["peak_mib"]
        lines.append(
            f"| {name} | {row['seconds']:.2f} | {row['ratio_to_erm']:.2f} ({low:.2f}-{high:.2f}) | {row['peak_mib']:.0f} | {memory:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the options, measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("depth", 50), ("domains", 2), ("images", 2), ("size", 128), ("threads", 2), ("pairs", 9)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--memory-of", choices=METHODS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        print(measure_memory(arguments))
        return
    result = measure(arguments)
    write_text(arguments.output / "step_time.json", json.dumps(result, indent=2) + "\n")
    write_text(arguments.output / "step_time.md", markdown(result))
    print(markdown(result), f"Written to {arguments.output}", sep="\n")


if __name__ == "__main__":
    main()
