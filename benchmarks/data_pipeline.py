"""Milliseconds that one training sample costs on one core, stage by stage, for files in the formats of three data sets.

    OMP_NUM_THREADS=1 python -m benchmarks.data_pipeline [--images 8 --repeats 7 --crop 768 --workers 0 1 2 4 --draws 48 --output DIR]

The files are drawn street scenes of the data set's size and label encoding, with as much sensor noise as makes a PNG as large as the
photographs of Cityscapes are (2.2 MB for 2048x1024), since noise decides how long a PNG takes to decode. They lie in a temporary folder
and are read from the page cache: the disk is not measured. Everything runs in one thread, and what is counted is the processor time it
takes, so that waiting for other jobs does not count; they slow it down all the same, by sharing caches and clock. Each sample goes through
its stages several times: "median" is over all of them, "best" the median over the samples of each one's fastest time. Then the training
loader itself delivers GTAV's samples with more and more loading processes (`benchmarks/loading.py`). Writes `data_pipeline.json` and
`data_pipeline.md`.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from benchmarks import loading
from pin_memory.domains import GTAV, PALETTE, Cityscapes, Domain, Synthia, TrainTransform, to_tensors
from pin_memory.domains.stand_ins.scenes import draw_scene
from pin_memory.runs.provenance import provenance
from pin_memory.utils.files import write_text

STAGES = ("decode image", "decode label", "augment", "to tensor")
BYTES_PER_PIXEL = 1.05  # leftImg8bit_trainvaltest.zip: 11 GB of 5,000 images of 2048x1024
AIM = 60.0  # milliseconds for a sample of GTAV

Writer = Callable[[Path, int, np.ndarray, np.ndarray], None]


def write_gtav(root: Path, number: int, image: np.ndarray, raw: np.ndarray) -> None:
    """RGB and palette PNG in one folder each."""
    name = f"{number + 1:05}.png"
    save(root / "images" / name, Image.fromarray(image))
    label = Image.fromarray(raw)
    label.putpalette(np.resize(PALETTE, (256, 3)).ravel().tolist())
    save(root / "labels" / name, label)


def write_cityscapes(root: Path, number: int, image: np.ndarray, raw: np.ndarray) -> None:
    """RGB and grey PNG in a city's folder."""
    stem = f"drawn_000000_{number:06}"
    save(root / f"leftImg8bit/train/drawn/{stem}_leftImg8bit.png", Image.fromarray(image))
    save(root / f"gtFine/train/drawn/{stem}_gtFine_labelIds.png", Image.fromarray(raw))


def write_synthia(root: Path, number: int, image: np.ndarray, raw: np.ndarray) -> None:
    """RGB and 16-bit RGB PNG: class, number of the object, unused."""
    name = f"{number:07}.png"
    save(root / "RGB" / name, Image.fromarray(image))
    label = np.zeros((*raw.shape, 3), np.uint16)  # OpenCV's order: blue, green, red
    objects = cv2.connectedComponents((raw == 8).astype(np.uint8))[1]  # cars
    label[..., 2], label[..., 1] = raw, objects
    path = root / "GT/LABELS" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), label)


def save(path: Path, picture: Image.Image) -> None:
    """Write a PNG with the usual compression."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


FORMATS: dict[str, tuple[type[Domain], str, int, int, Writer]] = {
    # look of the drawing, width and height
    "GTAV": (GTAV, "G", 1914, 1052, write_gtav),
    "Cityscapes": (Cityscapes, "C", 2048, 1024, write_cityscapes),
    "SYNTHIA": (Synthia, "S", 1280, 760, write_synthia),
}


def write_files(root: Path, name: str, images: int) -> Domain:
    """Draw files in the format of a data set and open them."""
    reader, look, width, height, write = FORMATS[name]
    # The reader's table backwards: a raw id of each train id. Void pixels get an id that it ignores.
    raw_ids = np.array([np.flatnonzero(reader.table == train)[0] if train in reader.table else 0 for train in range(256)], np.uint8)
    strength = None
    for number in range(images):
        scene = draw_scene(look, 304, number, width)
        image = cv2.resize(scene.image, (width, height), interpolation=cv2.INTER_CUBIC)
        label = cv2.resize(scene.label, (width, height), interpolation=cv2.INTER_NEAREST)
        strength = noise_strength(image) if strength is None else strength
        write(root / name, number, with_noise(image, strength), raw_ids[label])
    return reader(root / name, "train")


def noise_strength(image: np.ndarray) -> float:
    """The standard deviation of the noise that makes the image's PNG as large as a photograph's, by bisection."""
    target, low, high = BYTES_PER_PIXEL * image.shape[0] * image.shape[1], 0.0, 3.0
    for _ in range(6):
        middle = (low + high) / 2
        Image.fromarray(with_noise(image, middle)).save(buffer := BytesIO(), "PNG")
        low, high = (low, middle) if buffer.tell() >= target else (middle, high)
    return low


def with_noise(image: np.ndarray, strength: float) -> np.ndarray:
    """Add Gaussian noise of a standard deviation to an image, (H, W, 3) uint8."""
    noise = np.random.default_rng(1).standard_normal(image.shape, np.float32)
    return np.clip(image + strength * noise, 0, 255).round().astype(np.uint8)


def measure(domain: Domain, crop: int, repeats: int) -> dict[str, Any]:
    """Time the stages of every sample, `repeats` times each with the same draw."""
    transform = TrainTransform(crop)
    times = np.zeros((repeats, len(domain), len(STAGES)))
    for repeat in range(repeats + 1):  # the first round warms up
        for number, sample in enumerate(domain.samples):
            moments = [time.process_time()]
            image = domain.read_image(sample)
            moments.append(time.process_time())
            label = domain.read_label(sample)
            moments.append(time.process_time())
            pair = transform.augment(image, label, seed=number)
            moments.append(time.process_time())
            to_tensors(*pair)
            moments.append(time.process_time())
            if repeat:
                times[repeat - 1, number] = np.diff(moments) * 1000
    return {
        "size": [*reversed(image.shape[:2])],
        "image_megabytes": statistics.mean(sample.image.stat().st_size for sample in domain.samples) / 1e6,
        "label_kilobytes": statistics.mean(sample.label.stat().st_size for sample in domain.samples) / 1e3,
        "median": summary(times.reshape(-1, len(STAGES))),
        "best": summary(times.min(axis=0)),
    }


def summary(times: np.ndarray) -> dict[str, float]:
    """Medians of the stages and of the whole, and what comes after decoding over decoding; `times` is (N, stages)."""
    stages = dict(zip(STAGES, np.median(times, axis=0).tolist(), strict=True))
    decoding, rest = times[:, :2].sum(axis=1), times[:, 2:].sum(axis=1)
    return stages | {"sample": float(np.median(decoding + rest)), "rest over decoding": float(np.median(rest) / np.median(decoding))}


def uncompressed(domain: Domain, folder: Path, repeats: int) -> dict[str, float]:
    """What a copy of the images without compression would cost: megabytes each, and milliseconds to read one."""
    times, size = [], 0
    for number, sample in enumerate(domain.samples):
        path = folder / f"{number}.npy"
        np.save(path, domain.read_image(sample))
        size += path.stat().st_size
        for _ in range(repeats):
            start = time.process_time()
            np.load(path)
            times.append((time.process_time() - start) * 1000)
    return {"megabytes": size / len(domain) / 1e6, "milliseconds": statistics.median(times)}


def cpu() -> str:
    """The model of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def markdown(result: dict[str, Any]) -> str:
    """The result as a table."""
    s, p = result["settings"], result["provenance"]
    load = ", ".join(f"{value:.1f}" for value in result["load"])
    lines = [
        f"One thread on {result['cpu']}, {s['crop']} crop, {s['images']} drawn images x {s['repeats']} repeats, files in the page cache;"
        f" Python {p['python']}, OpenCV {cv2.__version__}, Pillow {result['pillow']}, albumentations {p['packages']['albumentations']},"
        f" torch {p['packages']['torch']}, {p['date'][:10]}. Load of the machine before and after: {load}.",
        "Milliseconds of processor time for one training sample: median (best of the repeats).",
        "",
        "| format | image, MB | " + " | ".join(STAGES) + " | whole sample | beyond decoding / decoding |",
        "|---" * (len(STAGES) + 4) + "|",
    ]
    for name, row in result["formats"].items():
        cells = [f"{row['median'][stage]:.1f} ({row['best'][stage]:.1f})" for stage in (*STAGES, "sample")]
        ratio = f"{row['median']['rest over decoding']:.2f} ({row['best']['rest over decoding']:.2f})"
        size = "x".join(map(str, row["size"]))
        lines.append(f"| {name} {size} | {row['image_megabytes']:.1f} | " + " | ".join(cells) + f" | {ratio} |")
    gtav, copy = result["formats"]["GTAV"], result["formats"]["GTAV"]["uncompressed"]
    kept = "kept" if gtav["median"]["sample"] <= AIM else "missed"
    lines += [
        "",
        f"The aim of {AIM:.0f} ms for GTAV is {kept}. An uncompressed copy of its images would be read in {copy['milliseconds']:.1f} ms"
        f" instead of {gtav['median']['decode image']:.1f},"
        f" for {copy['megabytes']:.1f} MB each, {copy['megabytes'] * 24.966:.0f} GB in all.",
        *loading.table(result["workers"]),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the options, draw, measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("images", 8), ("repeats", 7), ("crop", 768), ("draws", 48)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    load = [os.getloadavg()[0]]
    formats = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in FORMATS:
            domain = write_files(Path(folder), name, arguments.images)
            formats[name] = measure(domain, arguments.crop, arguments.repeats)
            formats[name]["uncompressed"] = uncompressed(domain, Path(folder), arguments.repeats)
        workers = [loading.measure(Path(folder) / "GTAV", number, arguments.draws, arguments.crop) for number in arguments.workers]
    result = {
        "settings": {name: value for name, value in vars(arguments).items() if name != "output"},
        "cpu": cpu(),
        "load": [*load, os.getloadavg()[0]],
        "pillow": Image.__version__,
        "provenance": provenance(),
        "formats": formats,
        "workers": workers,
    }
    write_text(arguments.output / "data_pipeline.json", json.dumps(result, indent=2) + "\n")
    write_text(arguments.output / "data_pipeline.md", markdown(result))
    print(markdown(result), f"Written to {arguments.output}", sep="\n")


if __name__ == "__main__":
    main()
