"""Decoders of PNG and JPEG side by side: processor time on the same files, and whether they do what the library's reader does.

    OMP_NUM_THREADS=1 python -m benchmarks.decoders [--images 4 --rounds 7 --copies 5000 --output DIR]

Measures the decoders that are installed and names the others, so a candidate is tried by installing it elsewhere and naming that folder in
PYTHONPATH. The files are those of `benchmarks.data_pipeline`: images and palette labels of GTAV's size, 16-bit labels of SYNTHIA's, and
the images once more as JPEG of quality 92. They are read from the page cache in one thread, by all decoders in turn (A B C A B C ...);
ratios are medians of the ratios file by file and round by round. What is made of damaged copies is compared, too, with each decoder in a
process of its own (`benchmarks/damaged_files.py`). Writes `decoders.json` and `decoders.md`.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import packages_distributions, version
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image

from benchmarks import damaged_files
from benchmarks.data_pipeline import write_files
from benchmarks.stepping import about, headline, write
from pin_memory.domains.readers.label_maps import read_deep_red, read_indices
from pin_memory.utils.decoding import read_rgb

TODAY = "this library"
READERS: dict[str, Callable[[Path], np.ndarray]] = {
    "RGB PNG": read_rgb,
    "palette PNG": read_indices,
    "16-bit RGB PNG": read_deep_red,
    "JPEG": read_rgb,
}
"""What the library reads each kind of file with: RGB images, or ids, one for each pixel (of 16 bits: red)."""

Decode = Callable[[Any, bytes], np.ndarray]


class Decoder(NamedTuple):
    """A way to get pixels from a file's bytes, by an imported module; None for a format that it does not read."""

    module: str
    png: Decode | None
    jpeg: Decode | None


def opencv(module: Any, data: bytes) -> np.ndarray:
    """All bits, colours in the order red, green, blue."""
    found = module.imdecode(np.frombuffer(data, np.uint8), module.IMREAD_UNCHANGED)
    return module.cvtColor(found, module.COLOR_BGR2RGB) if found.ndim == 3 else found


def torchvision(function: str) -> Decode:
    """One of its functions, which give channels first."""

    def decode(module: Any, data: bytes) -> np.ndarray:
        found = getattr(module, function)(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        return found.permute(1, 2, 0).numpy()

    return decode


def pillow(module: Any, data: bytes) -> np.ndarray:
    """Without the library's checks."""
    return np.asarray(module.open(BytesIO(data)))


DECODERS = {
    "Pillow": Decoder("PIL.Image", pillow, pillow),
    "OpenCV": Decoder("cv2", opencv, opencv),
    "torchvision": Decoder("torchvision.io", torchvision("decode_png"), torchvision("decode_jpeg")),
    "imagecodecs": Decoder("imagecodecs", lambda module, data: module.png_decode(data), lambda module, data: module.jpeg8_decode(data)),
    "imagecodecs, libspng": Decoder("imagecodecs", lambda module, data: module.spng_decode(data), None),
    "pyspng": Decoder("pyspng", lambda module, data: module.load(data), None),
    "simplejpeg": Decoder("simplejpeg", None, lambda module, data: module.decode_jpeg(data)),
}


def installed(kind: str) -> tuple[dict[str, Callable[[Path], np.ndarray]], list[str]]:
    """The decoders of a kind of file that can be imported, and the names of those that cannot."""
    found: dict[str, Callable[[Path], np.ndarray]] = {TODAY: READERS[kind]}
    missing = []
    for name, decoder in DECODERS.items():
        decode = decoder.jpeg if kind == "JPEG" else decoder.png
        if decode is None:
            continue
        try:
            found[name] = _from_file(decode, import_module(decoder.module))
        except ImportError:
            missing.append(name)
    return found, missing


def _from_file(decode: Decode, module: Any) -> Callable[[Path], np.ndarray]:
    return lambda path: decode(module, path.read_bytes())


def difference(found: np.ndarray, expected: np.ndarray) -> str:
    """How pixels differ from the library's; empty if they do not. Of colours where ids are expected, red counts."""
    if found.ndim == 3 and expected.ndim == 2:
        found = found[..., 0]
    if found.shape != expected.shape:
        return f"shape {found.shape}"
    if np.array_equal(found, expected):
        return ""
    apart = np.abs(found.astype(np.int64) - expected.astype(np.int64))
    return f"{np.count_nonzero(apart) / apart.size:.0%} of the values by up to {apart.max()}"


def compare(decode: Callable[[Path], np.ndarray], today: Callable[[Path], np.ndarray], paths: list[Path]) -> str:
    """The first difference among some files, or the reason why one is refused."""
    for path in paths:
        try:
            if apart := difference(decode(path), today(path)):
                return apart
        except Exception as error:  # whatever a decoder raises
            return f"refused ({type(error).__name__})"
    return ""


def measure(files: dict[str, list[Path]], rounds: int, copies: int) -> dict[str, dict[str, Any]]:
    """Rows of each kind of file: milliseconds, how many times as fast as the library's reader, what differs, and what of damaged images."""
    rows: dict[str, dict[str, Any]] = {}
    for kind, paths in files.items():
        decoders, missing = installed(kind)
        apart = {name: compare(decode, READERS[kind], paths) for name, decode in decoders.items()}
        taking_part = {name: decode for name, decode in decoders.items() if not apart[name].startswith("refused")}
        times = [{name: _milliseconds(decode, path) for name, decode in taking_part.items()} for _ in range(rounds) for path in paths]
        rows[kind] = {name: {"difference": text} for name, text in apart.items()} | dict.fromkeys(missing)
        for name in taking_part:
            ratios = [each[TODAY] / each[name] for each in times]
            rows[kind][name] |= {"milliseconds": statistics.median(each[name] for each in times)}
            rows[kind][name] |= {"times_as_fast": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
        if READERS[kind] is read_rgb:
            for name, words in damaged_files.compare(taking_part, read_rgb, paths[0], copies).items():
                rows[kind][name] |= {"damaged": words}
    return rows


def _milliseconds(decode: Callable[[Path], np.ndarray], path: Path) -> float:
    start = time.process_time()
    decode(path)
    return (time.process_time() - start) * 1000


def write_all(folder: Path, images: int) -> dict[str, list[Path]]:
    """Draw the files of every kind."""
    gtav, synthia = (write_files(folder, name, images) for name in ("GTAV", "SYNTHIA"))
    pictures = [sample.image for sample in gtav.samples]
    jpegs = [path.with_suffix(".jpg") for path in pictures]
    for source, target in zip(pictures, jpegs, strict=True):
        Image.open(source).save(target, quality=92)
    labels = ([sample.label for sample in domain.samples] for domain in (gtav, synthia))
    return dict(zip(READERS, (pictures, *labels, jpegs), strict=True))


def versions() -> dict[str, str]:
    """Of the decoders' packages that are installed."""
    homes = packages_distributions()
    packages = {home for decoder in DECODERS.values() for home in homes.get(decoder.module.partition(".")[0], [])}
    return {package: version(package) for package in sorted(packages)}


def markdown(result: dict[str, Any]) -> str:
    """The result as a table."""
    s = result["settings"]
    names = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    load = ", ".join(f"{value:.1f}" for value in result["load"])
    lines = [
        f"{headline(result)}; {names}; {s['images']} drawn files of each kind x {s['rounds']} rounds, medians of processor time, files in"
        f" the page cache; {s['copies']} damaged copies. Load of the machine before and after: {load}.",
        "",
        "| file | decoder | ms | times as fast as this library (min-max) | pixels | damaged copies, unlike this library |",
        "|---|---|---|---|---|---|",
    ]
    for kind, decoders in result["files"].items():
        for name, row in decoders.items():
            if row is None:
                lines.append(f"| {kind} | {name} | not installed | | | |")
                continue
            ratio = f"{row['times_as_fast']:.2f} ({row['min']:.2f}-{row['max']:.2f})" if "min" in row else "-"
            took = f"{row['milliseconds']:.1f}" if "min" in row else "-"
            damaged = row.get("damaged", "-") or "nothing"
            lines.append(f"| {kind} | {name} | {took} | {ratio} | {row['difference'] or 'equal'} | {damaged} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the options, draw, measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("images", 4), ("rounds", 7), ("copies", 5_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(write_all(Path(folder), arguments.images), arguments.rounds, arguments.copies)
    result = about({"images": arguments.images, "rounds": arguments.rounds, "copies": arguments.copies, "threads": 1})
    result |= {"versions": versions(), "load": [*load, os.getloadavg()[0]], "files": rows}
    write(result, markdown(result), arguments.output, "decoders")


if __name__ == "__main__":
    main()
