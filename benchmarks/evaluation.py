"""Whole-image and sliding evaluation of 2048x1024 images: images per second, and the share of the time that the network takes.

    python -m benchmarks.evaluation [--images 2 --depths 18 50 --protocols whole sliding_768 --workers 1 --threads 1 --output DIR]

The images are drawn street scenes with sensor noise in Cityscapes' format (2.2 MB a PNG), read through the real data loader and evaluated
as `trainer.test` does: decoded in a loading process, predicted by the protocol, counted. "Network" is what runs inside of it, up to
logits at the label's size; "scores" is what a protocol does with logits (soft-max, averages, argmax); "wait" is for the loader. Shares
are of the processor time of the evaluating process plus its wait, so that other jobs on the machine do not count; images per second are
by the clock.
`--speedup` answers for a device whose network and memory are so many times faster: how many loading processes feed it, and which share
the network then has. Writes `evaluation.json` and `evaluation.md`.
"""

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks.data_pipeline import cpu, write_files
from pin_memory.domains import CityscapesDataModule, Loading
from pin_memory.inference import Protocol
from pin_memory.inference.protocols import find_protocol
from pin_memory.memory import CategoricalMemory
from pin_memory.metrics import DomainConfusion
from pin_memory.networks import MemorySegmenter, ResNetBackbone
from pin_memory.runs.provenance import provenance
from pin_memory.utils.files import write_text

PARTS = ("wait", "network", "scores", "confusion")
AIM = 0.9  # of the time in the network


class TimedSegmenter(MemorySegmenter):
    """The network, with the processor seconds of its forward passes."""

    seconds = 0.0

    def segment(self, *arguments: Any) -> torch.Tensor:
        """Logits."""
        start = time.process_time()
        logits = super().segment(*arguments)
        self.seconds += time.process_time() - start
        return logits


def build(depth: int) -> TimedSegmenter:
    """DeepLabV3+ with a memory at output stride 16, in eval mode."""
    torch.manual_seed(0)
    return TimedSegmenter(ResNetBackbone(depth), memory=CategoricalMemory()).eval()


def make_images(root: Path, images: int) -> None:
    """Drawn images where Cityscapes has its validation split."""
    write_files(root, "Cityscapes", images)
    for kind in ("leftImg8bit", "gtFine"):
        (root / "Cityscapes" / kind / "train").rename(root / "Cityscapes" / kind / "val")


@contextmanager
def counted(times: dict[str, float], part: str, clock: Callable[[], float]) -> Iterator[None]:
    """Add the time of the block to a part."""
    start = clock()
    yield
    times[part] += clock() - start


@torch.inference_mode()
def evaluate(network: TimedSegmenter, protocol: Protocol, root: Path, workers: int) -> dict[str, Any]:
    """Evaluate all images: seconds of each part for one image, and the share of the network."""
    data = CityscapesDataModule(root / "Cityscapes", loading=Loading(num_workers=workers))
    confusion, times = DomainConfusion(network.num_classes), dict.fromkeys(PARTS, 0.0)
    loader = data.val_dataloader()
    batches, number = iter(loader), len(loader)
    first = next(batches)  # the loading processes have started
    network.seconds, start, batch = 0.0, time.perf_counter(), first
    for index in range(number):
        if index:
            with counted(times, "wait", time.perf_counter if workers else time.process_time):
                batch = next(batches)
        with counted(times, "scores", time.process_time):
            prediction = protocol.predict(network, batch["image"], tuple(batch["label"].shape[-2:]))
        with counted(times, "confusion", time.process_time):
            confusion.update(prediction, batch["label"])
    seconds = time.perf_counter() - start
    times["network"] = network.seconds
    times["scores"] -= network.seconds
    each = {part: times[part] / (number - 1 if part == "wait" and number > 1 else number) for part in PARTS}
    total = sum(each.values())
    return {"seconds": each, "share": each["network"] / total, "images_per_second": number / seconds, "images": number}


def loading(root: Path) -> float:
    """Processor seconds to decode one image and its label and turn them into tensors, median."""
    dataset = CityscapesDataModule(root / "Cityscapes", loading=Loading(num_workers=0)).val_dataloader().dataset
    times = []
    for index in range(len(dataset)):  # type: ignore[arg-type]
        start = time.process_time()
        dataset[index]
        times.append(time.process_time() - start)
    return statistics.median(times)


def on_a_faster_device(row: dict[str, Any], load: float, speedup: float) -> dict[str, float]:
    """What a device gives that is `speedup` times faster in all it does: images per second, loading processes, the network's share."""
    seconds = row["seconds"]
    device = (seconds["network"] + seconds["scores"] + seconds["confusion"]) / speedup
    return {
        "images_per_second": 1 / device,
        "workers": math.ceil(load / device),
        "share": seconds["network"] / speedup / device,
        "share_without_workers": seconds["network"] / speedup / (device + load),
    }


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All networks and protocols on the same images."""
    load = [os.getloadavg()[0]]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make_images(Path(folder), arguments.images)
        loading_seconds = loading(Path(folder))
        for depth in arguments.depths:
            network = build(depth)
            for name in arguments.protocols:
                row = evaluate(network, find_protocol(name), Path(folder), arguments.workers)
                device = on_a_faster_device(row, loading_seconds, arguments.speedup)
                rows.append({"network": f"ResNet-{depth}", "protocol": name, **row, "faster_device": device})
                print(f"ResNet-{depth} {name}: {row['images_per_second']:.3f} images/s", flush=True)
    settings = {name: value for name, value in vars(arguments).items() if name != "output"}
    about = {"settings": settings, "cpu": cpu(), "load": [*load, os.getloadavg()[0]], "provenance": provenance()}
    return about | {"loading_seconds": loading_seconds, "rows": rows}


def markdown(result: dict[str, Any]) -> str:
    """The result as a table."""
    s, p = result["settings"], result["provenance"]
    load = ", ".join(f"{value:.1f}" for value in result["load"])
    decoding = f"{1000 * result['loading_seconds']:.0f} ms of a loading process"
    lines = [
        f"DeepLabV3+ with a memory at output stride 16, 2048x1024, float32, {s['threads']} threads on {result['cpu']},"
        f" {s['workers']} loading process(es), {s['images']} images; torch {p['packages']['torch']}, {p['date'][:10]}."
        f" Load of the machine before and after: {load}. Seconds for one image; decoding one takes {decoding}."
        f" The last three columns are computed: a device on which all but the decoding is {s['speedup']:g} times faster.",
        "",
        "| network | protocol | network, s | scores, s | confusion, s | wait, s | share of the network | images/s | faster: images/s"
        " | loading processes that feed it | share of the network |",
        "|---" * 11 + "|",
    ]
    for row in result["rows"]:
        t, faster = row["seconds"], row["faster_device"]
        lines.append(
            f"| {row['network']} | {row['protocol']} | {t['network']:.2f} | {t['scores']:.3f} | {t['confusion']:.3f} | {t['wait']:.3f}"
            f" | {100 * row['share']:.1f} % | {row['images_per_second']:.3f} | {faster['images_per_second']:.1f} | {faster['workers']}"
            f" | {100 * faster['share']:.1f} % |"
        )
    worst = min(row["share"] for row in result["rows"])
    lines += ["", f"The aim of {100 * AIM:.0f} % is {'kept' if worst >= AIM else 'missed'}: at least {100 * worst:.1f} % in the network."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the options, draw, measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("images", 2), ("workers", 1), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--depths", type=int, nargs="+", default=[18, 50])
    parser.add_argument("--protocols", nargs="+", default=["whole", "sliding_768"])
    parser.add_argument("--speedup", type=float, default=50.0, help="of a faster device, for the estimate")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(0)
    result = measure(arguments)
    write_text(arguments.output / "evaluation.json", json.dumps(result, indent=2) + "\n")
    write_text(arguments.output / "evaluation.md", markdown(result))
    print(markdown(result), f"Written to {arguments.output}", sep="\n")


if __name__ == "__main__":
    main()
