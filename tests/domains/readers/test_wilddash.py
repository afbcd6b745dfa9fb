"""WildDash 2: panoptic segments whose categories stand in one JSON file."""

import json
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from pin_memory.domains import WildDash, WildDashDataModule
from pin_memory.utils.errors import ConfigurationError, DataError
from tests.domains.readers.domain_cases import DomainCase, stripes, write_grey, write_image
from tests.domains.readers.test_acdc import LABEL_IDS

# DATASETS.md, section 7: 0..33 as Cityscapes, pickup 34, van 35, billboard 36, street light 37, road marking 38.
CATEGORIES = LABEL_IDS | {34: 14, 35: 13, 36: 255, 37: 255, 38: 0}
VOID = 255  # in these tests: pixels of no segment


def write_panoptic(path: Path, raw: np.ndarray) -> None:
    """A picture of segment numbers, each segment of two instances, and its entry in the JSON file."""
    segments = []
    ids = np.zeros(raw.shape, np.uint32)
    for category in np.unique(raw[raw != VOID]).tolist():
        for instance, half in enumerate((np.arange(len(raw)) % 2 == 0, np.arange(len(raw)) % 2 == 1)):
            number = 70_000 * category + 256 * instance + 7
            ids[(raw == category) & half[:, None]] = number
            segments.append({"id": number, "category_id": category, "iscrowd": 0, "area": 1, "bbox": [0, 0, 1, 1]})
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)).save(path)
    index = path.parents[1] / "panoptic.json"
    content: dict[str, Any] = json.loads(index.read_text()) if index.is_file() else {"images": [], "annotations": []}
    content["annotations"] = [entry for entry in content["annotations"] if entry["file_name"] != path.name]
    content["annotations"].append({"file_name": path.name, "image_id": path.stem, "segments_info": segments})
    index.write_text(json.dumps(content))


class TestWildDash(DomainCase):
    name = "wilddash"
    module = WildDashDataModule
    expected: ClassVar = {raw: CATEGORIES[raw] for raw in (*range(39), 60, VOID)}
    written: ClassVar = {"": 10}
    sizes: ClassVar = {"train": 8, "val": 2, "test": 10}
    image = "images/aa{number:04}_100000.jpg"
    label = "panoptic/aa{number:04}_100000.png"

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        write_panoptic(path, raw)

    def test_values_that_labels_may_hold(self, root: Path) -> None:
        assert self.open(root).raw_ids == {*range(39), 255}

    def test_pickups_as_cars(self, root: Path) -> None:
        domain = WildDash(root, "test", pickup="car")
        stripe = list(self.expected).index(34)
        assert (domain.read_label(domain.samples[0])[:, 3 * stripe : 3 * stripe + 3] == 13).all()
        with pytest.raises(ConfigurationError, match="expected truck or car"):
            WildDash(root, "test", pickup="lorry")

    def test_numbers_that_no_segment_has_are_ignored(self, root: Path) -> None:
        domain = self.open(root)
        write_image(domain.samples[0].label, 12, 6)
        assert (domain.read_label(domain.samples[0]) == 255).all()

    def test_label_without_annotation(self, root: Path) -> None:
        domain = self.open(root)
        index = root / "panoptic.json"
        content = json.loads(index.read_text())
        content["annotations"] = content["annotations"][1:]
        index.write_text(json.dumps(content))
        with pytest.raises(DataError, match="has no annotation for this file") as error:
            domain.read_label(domain.samples[0])
        assert str(domain.samples[0].label) in str(error.value)

    @pytest.mark.parametrize(
        "content", ['{"annotations": [', "{}", '{"annotations": [{"file_name": "a.png"}]}', "[1]", '{"annotations": 3}']
    )
    def test_damaged_annotation(self, root: Path, content: str) -> None:
        (root / "panoptic.json").write_text(content)
        domain = self.open(root)
        with pytest.raises(DataError, match="not a complete panoptic annotation") as error:
            domain.read_label(domain.samples[0])
        assert str(root / "panoptic.json") in str(error.value)

    def test_missing_annotation(self, root: Path) -> None:
        (root / "panoptic.json").unlink()
        with pytest.raises(DataError, match="but no file"):
            self.open(root)

    def test_grey_label_is_refused(self, root: Path) -> None:
        domain = self.open(root)
        write_grey(domain.samples[0].label, stripes([7]))
        with pytest.raises(DataError, match="picture mode L"):
            domain.read_label(domain.samples[0])

    def test_a_reader_that_has_read_is_small(self, root: Path) -> None:
        domain = self.open(root)
        before = len(pickle.dumps(domain))
        domain[0]
        assert len(pickle.dumps(domain)) == before
        copy = pickle.loads(pickle.dumps(domain))
        np.testing.assert_array_equal(copy.read_label(copy.samples[0]), domain.read_label(domain.samples[0]))


@pytest.mark.parametrize("inner", ["", "wd_public_02", "wd_public_v2p0"])
@pytest.mark.parametrize("kind", ["panoptic", "labels", "semantic"])
def test_layouts(tmp_path: Path, inner: str, kind: str) -> None:
    raw = stripes([7, 34, 38])
    write_image(tmp_path / inner / "images/aa_0.jpg", *raw.shape)
    (write_panoptic if kind == "panoptic" else write_grey)(tmp_path / inner / kind / "aa_0.png", raw)
    domain = WildDash(tmp_path, "test")
    assert domain.layout.encoding == ("panoptic" if kind == "panoptic" else "ids")
    np.testing.assert_array_equal(domain.read_label(domain.samples[0]), stripes([0, 14, 0]))
