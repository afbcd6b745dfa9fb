"""Scores of single images: written and read, and damaged files."""

import math
from pathlib import Path

import pytest

from pin_memory.runs.image_scores import IMAGES, read_image_scores, write_image_scores
from pin_memory.utils.errors import DataError


def test_what_is_written_is_read(tmp_path: Path) -> None:
    scores = {"north": {"f": math.nan, "a, b": 0.5, 'c "d"': math.nan, "e": 0.25}, "south": {"a, b": 1.0}}
    write_image_scores(tmp_path / IMAGES, scores)
    found = read_image_scores(tmp_path)
    assert all(math.isnan(found["north"].pop(name)) for name in ('c "d"', "f"))
    assert found == {"north": {"a, b": 0.5, "e": 0.25}, "south": {"a, b": 1.0}}
    assert list(read_image_scores(tmp_path)["north"]) == ["e", "a, b", 'c "d"', "f"], "the worst first, what has none last"
    assert read_image_scores(tmp_path / "other") == {}


HEAD = "target,image,miou"


@pytest.mark.parametrize("text", ["", "target,image\n", f"{HEAD}\na,b\n", f"{HEAD}\na,b,c\n", f"{HEAD}\n\xff,b,0.5\n"])
def test_damaged_files_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / IMAGES).write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"images\.csv: expected lines of target, image, miou"):
        read_image_scores(tmp_path)
