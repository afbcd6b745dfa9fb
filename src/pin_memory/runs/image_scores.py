"""The scores of single test images, `images.csv` of a run: which are hard, and whether another run is ahead on most of them."""

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

from pin_memory.utils.errors import DataError
from pin_memory.utils.files import report_write_errors, write_text

IMAGES = "images.csv"
ImageScores = dict[str, dict[str, float]]
"""mIoU of each image, over the classes that its label shows, by target and name; NaN where the label shows none."""
_HEAD = ["target", "image", "miou"]


def write_image_scores(path: Path, scores: Mapping[str, Mapping[str, float]]) -> None:
    """Write a line for each image, fractions; the worst of a target first, those without a score last and blank."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEAD)
    for target, images in scores.items():
        for name, value in sorted(images.items(), key=lambda item: (math.inf if math.isnan(item[1]) else item[1], item[0])):
            writer.writerow([target, name, "" if math.isnan(value) else f"{value:.6f}"])
    with report_write_errors(path):
        write_text(path, text.getvalue())


def read_image_scores(run: str | Path) -> ImageScores:
    """Read the image scores of a run folder; empty where it has none.

    Raises:
        DataError: The file is damaged.
    """
    path = Path(run) / IMAGES
    if not path.is_file():
        return {}
    scores: ImageScores = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            if next(rows, None) != _HEAD:
                raise ValueError
            for target, name, value in rows:
                scores.setdefault(target, {})[name] = float(value or "nan")
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}: expected lines of {', '.join(_HEAD)}. Evaluate again, or remove the file.") from error
    return scores
