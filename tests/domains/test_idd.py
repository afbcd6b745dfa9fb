import json
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from pin_memory.domains import IDD, IDDDataModule
from pin_memory.domains.idd import rasterize
from pin_memory.errors import DataError
from tests.domains.domain_cases import DomainCase, write_image

NAMES = ["road", "sidewalk", "non-drivable fallback", "person", "rider", "motorcycle", "bicycle", "car", "truck", "bus", "train", "wall"]
NAMES += ["fence", "traffic sign", "traffic light", "pole", "building", "vegetation", "sky"]
TRAIN_IDS = [0, 1, 9, 11, 12, 17, 18, 13, 14, 15, 16, 3, 4, 7, 6, 5, 2, 8, 10]
# Ignored: classes without a train id, and a class that does not exist.
NAMES += ["parking", "autorickshaw", "curb", "license plate", "polegroup", "flying saucer"]


def square(label: str, left: int, right: int, top: int, bottom: int, **more: Any) -> dict[str, Any]:
    corners = [[left, top], [right - 1, top], [right - 1, bottom - 1], [left, bottom - 1]]
    return {"label": label, "polygon": corners, "id": 0, "draw": True, "verified": 0, "user": "-", "date": "-", **more}


def annotation(*objects: dict[str, Any], width: int = 8, height: int = 6) -> dict[str, Any]:
    return {"imgWidth": width, "imgHeight": height, "objects": list(objects)}


class TestIDD(DomainCase):
    """The "raw ids" of this test are positions in NAMES."""

    name = "idd"
    module = IDDDataModule
    expected: ClassVar = dict(enumerate(TRAIN_IDS + [255] * (len(NAMES) - len(TRAIN_IDS))))

    def image_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"leftImg8bit/{split}/{number // 2:03}/{split}{number:04}_leftImg8bit.{'png' if number % 2 else 'jpg'}"

    def label_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"gtFine/{split}/{number // 2:03}/{split}{number:04}_gtFine_polygons.json"

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = raw.shape
        edges = [0, *(np.flatnonzero(np.diff(raw[0])) + 1).tolist(), width]
        objects = [square(NAMES[raw[0, left]], left, right, 0, height) for left, right in pairwise(edges)]
        path.write_text(json.dumps(annotation(*objects, width=width, height=height)))

    def test_names_say_the_drive(self, root: Path) -> None:
        assert [sample.name for sample in self.open(root).samples][:3] == ["000_train0000", "000_train0001", "001_train0002"]

    def test_folder_of_the_archive(self, root: Path) -> None:
        inner = root / "IDD_Segmentation"
        inner.mkdir()
        for name in ("leftImg8bit", "gtFine"):
            (root / name).rename(inner / name)
        assert len(IDD(root, "train")) == 4

    @pytest.mark.parametrize("text", ["{", "[]", "{}", '{"imgWidth": 3, "imgHeight": 3, "objects": [{"label": "road"}]}', "\xff"])
    def test_broken_json_is_named(self, root: Path, text: str) -> None:
        domain = self.open(root)
        domain.samples[0].label.write_bytes(text.encode("latin-1"))
        with pytest.raises(DataError, match="not a whole IDD label") as error:
            domain[0]
        assert str(domain.samples[0].label) in str(error.value)

    @pytest.mark.parametrize("size", ["1e9", "20001", "0", "-3", "1e999"])
    def test_absurd_sizes_are_told(self, root: Path, size: str) -> None:
        domain = self.open(root)
        domain.samples[0].label.write_text(f'{{"imgWidth": {size}, "imgHeight": 6, "objects": []}}')
        with pytest.raises(DataError, match="not a whole IDD label"):
            domain[0]

    def test_image_of_another_size(self, root: Path) -> None:
        domain = self.open(root)
        write_image(domain.samples[0].image, 5, 5)
        with pytest.raises(DataError, match="differ in size"):
            domain[0]


def test_later_objects_cover_earlier_ones() -> None:
    label = IDD.table[rasterize(annotation(square("road", 0, 8, 0, 6), square("car", 2, 4, 1, 3)))]
    expected = np.zeros((6, 8))
    expected[1:3, 2:4] = 13
    np.testing.assert_array_equal(label, expected)


def test_background_deleted_objects_and_degenerate_polygons_stay_unlabelled() -> None:
    line = {"label": "sky", "polygon": [[0, 0], [7, 0]]}
    label = IDD.table[rasterize(annotation(square("road", 0, 8, 0, 6, deleted=1), line))]
    assert (label == 255).all()


def test_a_group_counts_as_its_members_but_the_class_polegroup_is_itself() -> None:
    label = IDD.table[rasterize(annotation(square("cargroup", 0, 4, 0, 6), square("polegroup", 4, 8, 0, 6)))]
    assert (label[:, :4] == 13).all()
    assert (label[:, 4:] == 255).all()


def test_licence_plates_cut_holes() -> None:
    label = IDD.table[rasterize(annotation(square("car", 0, 8, 0, 6), square("license plate", 3, 5, 4, 5)))]
    assert label[4, 3:5].tolist() == [255, 255]
    assert (label == 13).sum() == 46
