"""The benchmark of decoders: what it says of those that are there, of those that are not, and of one that is wrong."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks import damaged_files, decoders
from benchmarks.data_pipeline import write_gtav, write_synthia
from pin_memory.utils.decoding import read_rgb


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[Path]]:
    """One small file of each kind."""
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (64, 80, 3), np.uint8)
    raw = generator.integers(0, 30, (64, 80), np.uint8)
    write_gtav(tmp_path, 0, image, raw)
    write_synthia(tmp_path, 0, image, raw)
    cv2.imwrite(str(tmp_path / "image.jpg"), image)
    names = ("images/00001.png", "labels/00001.png", "GT/LABELS/0000000.png", "image.jpg")
    return {kind: [tmp_path / name] for kind, name in zip(decoders.READERS, names, strict=True)}


def test_every_decoder_has_a_row(files: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is not installed, too; OpenCV's pixels equal the library's, but for palettes, whose ids it turns into colours."""
    monkeypatch.setattr(damaged_files, "compare", lambda taking_part, *others: dict.fromkeys(taking_part, ""))
    monkeypatch.setitem(decoders.DECODERS, "absent", decoders.Decoder("no_such_module", decoders.pillow, decoders.pillow))
    rows = decoders.measure(files, rounds=1, copies=0)
    assert all(kind["absent"] is None and kind[decoders.TODAY]["difference"] == "" for kind in rows.values())
    assert {kind: bool(row["OpenCV"]["difference"]) for kind, row in rows.items()} == {kind: kind == "palette PNG" for kind in rows}
    assert rows["16-bit RGB PNG"]["Pillow"]["difference"]  # 8 of the 16 bits
    assert rows["JPEG"]["OpenCV"]["times_as_fast"] > 0
    settings = {"images": 1, "rounds": 1, "copies": 0, "threads": 1}
    result = decoders.about(settings) | {"versions": decoders.versions(), "load": [0.0], "files": rows}
    assert "| JPEG | absent | not installed |" in decoders.markdown(result)
    assert "opencv-python-headless" in result["versions"]


def test_wrong_pixels_and_refusals_are_named(files: dict[str, list[Path]]) -> None:
    image = files["RGB PNG"]
    assert decoders.compare(lambda path: read_rgb(path) ^ 1, read_rgb, image) == "100% of the values by up to 1"
    assert decoders.compare(lambda path: read_rgb(path)[1:], read_rgb, image) == "shape (63, 80, 3)"
    assert decoders.compare(lambda path: read_rgb(path.with_name("none.png")), read_rgb, image) == "refused (DataError)"


def test_what_is_made_of_damaged_files_is_compared(files: dict[str, list[Path]]) -> None:
    """In processes of their own, one of which dies; what is printed is counted."""

    def credulous(path: Path) -> Any:
        os.write(2, b"a line of a library\n")
        try:
            return read_rgb(path)
        except Exception:
            return np.zeros((1, 1, 3), np.uint8)

    others = {"same": read_rgb, "credulous": credulous, "dies": lambda path: os._exit(3)}
    found = damaged_files.compare(others, read_rgb, files["RGB PNG"][0], copies=10)
    assert found["same"] == ""
    assert found["dies"] == "the process died"
    accepted, printed = found["credulous"].split(", ")
    assert (accepted.endswith(" accepted"), printed) == (True, "10 lines printed")
