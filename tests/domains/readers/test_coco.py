"""COCO: instances in one JSON file for each split, and folders of PNGs."""

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from pin_memory.domains import COCO, COCODataModule
from pin_memory.domains.checks.domain import Depth, Request, check_domain
from pin_memory.domains.loading.class_statistics import class_counts
from pin_memory.domains.readers.coco_masks import Frame, decode_runs, draw_frame
from pin_memory.utils.errors import ConfigurationError, DataError
from tests.domains.readers.domain_cases import DomainCase, Tree, stripes, write_grey, write_image

# METASEGNET.md, section e: train ids of some categories, counted with the numbers that no class has.
EXPECTED = {0: 0, 1: 1, 11: 11, 13: 12, 25: 24, 27: 25, 44: 40, 67: 61, 90: 80}


def compressed(lengths: list[int]) -> str:
    """COCO's compressed text, written from its description with other means than the reader's."""
    text = ""
    for place, length in enumerate(lengths):
        number = length - lengths[place - 2] if place > 2 else length
        groups = 1
        while not -(2 ** (5 * groups - 1)) <= number < 2 ** (5 * groups - 1):
            groups += 1
        bits = format(number % 2 ** (5 * groups), f"0{5 * groups}b")
        parts = [int(bits[start : start + 5], 2) for start in range(0, len(bits), 5)][::-1]
        text += "".join(chr(48 + part + (32 if place < groups - 1 else 0)) for place, part in enumerate(parts))
    return text


def runs(mask: np.ndarray) -> list[int]:
    """Run lengths by a plain loop over the pixels, column by column."""
    lengths, value = [0], 0
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            if int(mask[row, column]) != value:
                lengths.append(0)
                value = 1 - value
            lengths[-1] += 1
    return lengths


def instances(raw: np.ndarray) -> list[dict[str, Any]]:
    """An annotation for each category of a map; polygons, and in turn both kinds of run-length encoding."""
    found = []
    for place, category in enumerate(np.unique(raw[raw > 0]).tolist()):
        mask = raw == category
        left, right = np.flatnonzero(mask.any(0))[[0, -1]].tolist()
        rectangle = [left + 0.5, 0.5, right + 0.5, 0.5, right + 0.5, len(raw) - 0.5, left + 0.5, len(raw) - 0.5]
        shape = {"size": list(raw.shape), "counts": runs(mask) if place % 3 == 1 else compressed(runs(mask))}
        own: Any = [rectangle] if place % 3 == 0 else shape
        found.append({"category_id": category, "segmentation": own, "area": float(mask.sum()), "iscrowd": 0})
    return found


def write_instances(path: Path, file: str, raw: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.loads(path.read_text()) if path.is_file() else {"images": [], "annotations": []}
    number = 1 + len(content["images"])
    content["images"].append({"id": number, "file_name": file, "height": raw.shape[0], "width": raw.shape[1]})
    content["annotations"] += [item | {"id": 1, "image_id": number} for item in instances(raw)]
    path.write_text(json.dumps(content))


class TestCOCO(DomainCase):
    name = "coco"
    module = COCODataModule
    expected: ClassVar = EXPECTED
    image = "{split}2014/COCO_{split}2014_{number:012}.jpg"
    label = "annotations/instances_{split}2014.json"
    trees: ClassVar = [
        Tree(
            "images, ids in annotations",
            "images/{split}2014/COCO_{split}2014_{number:012}.jpg",
            "annotations/{split}2014/COCO_{split}2014_{number:012}.png",
            write_grey,
            train_ids=True,
        )
    ]

    def write_pair(self, root: Path, split: str, number: int, raw: np.ndarray) -> None:
        image = root / self.image.format(split=split, number=number)
        write_image(image, *raw.shape, seed=number)
        write_instances(root / self.label.format(split=split), image.name, raw)

    def edit(self, root: Path, change: Any) -> Path:
        """Change the JSON file of the training split."""
        path = root / self.label.format(split="train")
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        return path

    def test_every_class_is_among_the_declared_ids(self, clean: Path) -> None:
        assert set(self.open(clean).raw_ids or ()) >= {*EXPECTED, 255}

    def test_image_without_label(self, root: Path) -> None:
        self.edit(root, lambda content: content["images"].pop() and content["annotations"].clear())
        with pytest.raises(DataError, match=r"1 of 4 images .* have no label: .*COCO_train2014_000000000003\.jpg"):
            self.open(root)

    def test_sizes_that_differ(self, root: Path) -> None:
        self.edit(root, lambda content: content["images"][0].update(width=6) or content["annotations"].clear())
        with pytest.raises(DataError, match="differ in size"):
            self.open(root)[0]

    def test_damaged_file_is_named(self, root: Path) -> None:
        domain = self.open(root)
        path = domain.samples[0].label
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(DataError, match="not a complete instance annotation") as error:
            domain[0]
        assert str(path) in str(error.value)
        path.unlink()
        with pytest.raises(DataError, match="cannot be read"):
            domain[0]

    @pytest.mark.parametrize(
        "wrong",
        [{"segmentation": 3}, {"segmentation": {"size": [12, 27], "counts": [3]}}, {"category_id": 400}, {"area": None},
         {"segmentation": [["a"] * 6]}, {"segmentation": {"size": [12, 27], "counts": "\x7f"}}],
    )  # fmt: skip
    def test_damaged_annotation_is_named(self, root: Path, wrong: dict[str, Any]) -> None:
        path = self.edit(root, lambda content: content["annotations"][0].update(wrong))
        domain = self.open(root)
        with pytest.raises(DataError, match="not a complete instance annotation") as error:
            domain[0]
        assert str(path) in str(error.value)

    def test_check_finds_nothing_wrong(self, clean: Path) -> None:
        """But that there are fewer and smaller ones than published; the label's file of all images is not opened for each."""
        report, opened = check_domain(Request(COCODataModule(clean), ["coco"], ["train", "val"], needed=True), Depth(workers=0))
        assert {finding.kind for finding in report.findings} == {"fewer", "small_images"}
        assert [split.pairs for split in report.splits] == [4, 2]
        assert len(opened) == 2

    def test_another_release(self, root: Path) -> None:
        with pytest.raises(DataError, match="the release of 2014 is there: set year=2014"):
            COCO(root, "train", year=2017)
        with pytest.raises(ConfigurationError, match="none of 2014, 2017"):
            COCO(root, "train", year=2015)

    def test_counts_of_classes_depend_on_which_images_there_are(self, root: Path) -> None:
        """They share one label file, so its length and time do not tell."""
        self.edit(root, lambda content: content["annotations"].__delitem__(slice(len(EXPECTED) - 1)))
        domain = self.open(root)
        first, last = domain.samples[:1], domain.samples[-1:]
        domain.samples = first
        assert class_counts(domain, 0)[0, 1:].sum() == 0
        domain.samples = last
        assert class_counts(domain, 0)[0, 80] == 36


def frame(height: int, width: int, *items: dict[str, Any]) -> np.ndarray:
    return draw_frame(Path("x.json"), Frame(height, width, json.dumps([{"iscrowd": 0, "area": 1.0} | item for item in items]).encode()))


def test_the_smaller_instance_is_seen_and_crowds_lie_below() -> None:
    def box(left: float, right: float) -> list[list[float]]:
        return [[left + 0.5, 0.5, right - 0.5, 0.5, right - 0.5, 1.5, left + 0.5, 1.5]]

    crowd = {"size": [2, 8], "counts": [0, 16]}
    drawn = frame(
        2, 8,
        {"category_id": 1, "segmentation": box(2, 4), "area": 4.0},
        {"category_id": 2, "segmentation": box(1, 6), "area": 10.0},
        {"category_id": 3, "segmentation": crowd, "area": 16.0, "iscrowd": 1},
    )  # fmt: skip
    np.testing.assert_array_equal(drawn, [[255, 2, 1, 1, 2, 2, 255, 255]] * 2)


def test_parts_of_one_instance_add_up_where_they_overlap() -> None:
    parts = [[0.5, 0.5, 5.5, 0.5, 5.5, 3.5, 0.5, 3.5], [3.5, 0.5, 7.5, 0.5, 7.5, 3.5, 3.5, 3.5]]
    assert frame(4, 8, {"category_id": 7, "segmentation": parts}).tolist() == [[7] * 8] * 4


def test_polygons_cover_the_pixels_whose_centres_lie_inside() -> None:
    """All of them, and beyond these only pixels whose centre is less than a pixel away from the outline."""
    corners = np.array([[20.3, 2.1], [37.8, 30.2], [22.0, 21.4], [3.2, 35.9]])
    drawn = frame(40, 40, {"category_id": 1, "segmentation": [corners.ravel().tolist()]}) == 1
    inside = np.zeros((40, 40), bool)
    for row in range(40):
        for column in range(40):
            x, y, crossings = column + 0.5, row + 0.5, 0
            for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, 0), strict=True):
                crossings += (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0)
            inside[row, column] = crossings % 2
    assert inside.sum() > 300
    assert not (inside & ~drawn).any()
    for row, column in np.argwhere(drawn & ~inside):
        point, distances = np.array([column + 0.5, row + 0.5]), []
        for start, end in zip(corners, np.roll(corners, -1, 0), strict=True):
            along = np.clip((point - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
            distances.append(np.linalg.norm(start + along * (end - start) - point))
        assert min(distances) < 1


@pytest.mark.parametrize("seed", range(4))
def test_both_encodings_of_runs_against_a_loop(seed: int) -> None:
    """Long and short runs, growing and shrinking, so that the changes have either sign and several characters."""
    generator = np.random.default_rng(seed)
    mask = np.repeat(generator.random((7, 50)) < 0.5, generator.integers(1, 400, 50), axis=1) if seed else np.ones((5, 3), bool)
    lengths = runs(mask)
    for counts in (lengths, compressed(lengths)):
        np.testing.assert_array_equal(decode_runs({"size": list(mask.shape), "counts": counts}, mask.shape), mask)


def test_a_compressed_text_of_the_reference_tool() -> None:
    """What pycocotools writes for rows 1 and 2 of columns 1 and 2 of 4 x 4 pixels: runs of 5, 2, 2, 2, 5."""
    mask = np.zeros((4, 4), bool)
    mask[1:3, 1:3] = True
    assert runs(mask) == [5, 2, 2, 2, 5]
    np.testing.assert_array_equal(decode_runs({"size": [4, 4], "counts": "52203"}, (4, 4)), mask)


def test_an_image_that_is_listed_and_not_there(tmp_path: Path) -> None:
    for number in range(2):
        TestCOCO().write_pair(tmp_path, "train", number, stripes([0, 1]))
    (tmp_path / "train2014/COCO_train2014_000000000000.jpg").unlink()
    domain = COCO(tmp_path, "train")
    assert len(domain) == 1
    assert any("1 annotated frames have no image" in note for note in domain.notes)


def test_pngs_of_other_ids_are_refused_by_their_table(tmp_path: Path) -> None:
    write_image(tmp_path / "train2014/a.jpg", 12, 9)
    write_grey(tmp_path / "masks/train2014/a.png", stripes([0, 80, 90]))
    domain = COCO(tmp_path, "train")
    assert domain.layout.name == "as published, ids in masks"
    assert np.unique(domain.read_label(domain.samples[0])).tolist() == [0, 80, 255]
    assert Image.open(domain.samples[0].image).size == (9, 12)
