"""IDD: two parts, four kinds of labels, polygons drawn and kept."""

import json
import os
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from pin_memory.domains import IDD, IDDDataModule
from pin_memory.domains.readers.idd import part_of, rasterize
from pin_memory.utils.errors import ConfigurationError, DataError
from tests.domains.readers.domain_cases import DomainCase, Tree, stripes, write_grey, write_image

# DATASETS.md, section 6: name, csTrainId and level3Id of each id; and what unknown labels count as.
CLASSES = """
road 0 0 | parking 255 1 | drivable fallback 255 1 | sidewalk 1 2 | rail track 255 3 | non-drivable fallback 9 3 | person 11 4
animal 255 4 | rider 12 5 | motorcycle 17 6 | bicycle 18 7 | autorickshaw 255 8 | car 13 9 | truck 14 10 | bus 15 11 | caravan 255 12
trailer 255 12 | train 16 12 | vehicle fallback 255 12 | curb 255 13 | wall 3 14 | fence 4 15 | guard rail 255 16 | billboard 255 17
traffic sign 7 18 | traffic light 6 19 | pole 5 20 | polegroup 255 20 | obs-str-bar-fallback 255 21 | building 2 22 | bridge 255 23
tunnel 255 23 | vegetation 8 24 | sky 10 25 | fallback background 255 25 | unlabeled 255 255 | ego vehicle 255 255
rectification border 255 255 | out of roi 255 255 | license plate 255 255
"""
ROWS = [row.rsplit(maxsplit=2) for row in CLASSES.strip().replace("\n", "|").split("|")]
NAMES = [name.strip() for name, _, _ in ROWS]
TRAIN_IDS = [int(train) for _, train, _ in ROWS]
LEVEL_3 = [int(level) for _, _, level in ROWS]
# Section 6, the best map of level3Ids: 255 where one of several classes is meant that is none of the 19.
OF_LEVEL_3 = {0: 0, 2: 1, 3: 9, 4: 11, 5: 12, 6: 17, 7: 18, 9: 13, 10: 14, 11: 15, 14: 3, 15: 4, 18: 7, 19: 6, 20: 5, 22: 2, 24: 8, 25: 10}
UNLABELED, UNKNOWN = 35, 40


def square(label: str, left: int, right: int, top: int, bottom: int, **more: Any) -> dict[str, Any]:
    corners = [[left, top], [right - 1, top], [right - 1, bottom - 1], [left, bottom - 1]]
    return {"label": label, "polygon": corners, "id": 0, "draw": True, "verified": 0, "user": "-", "date": "-", **more}


def annotation(*objects: dict[str, Any], width: int = 8, height: int = 6) -> dict[str, Any]:
    return {"imgWidth": width, "imgHeight": height, "objects": list(objects)}


def write_polygons(path: Path, raw: np.ndarray) -> None:
    """A frame of upright stripes as polygons; `UNKNOWN` becomes a label that does not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = raw.shape
    edges = [0, *(np.flatnonzero(np.diff(raw[0])) + 1).tolist(), width]
    names = [*NAMES, "flying saucer"]
    objects = [square(names[raw[0, left]], left, right, 0, height) for left, right in pairwise(edges)]
    path.write_text(json.dumps(annotation(*objects, width=width, height=height)))


def write_ids(path: Path, raw: np.ndarray) -> None:
    write_grey(path, np.where(raw == UNKNOWN, UNLABELED, raw).astype(np.uint8))


FRAME = "{split}/{drive:03}/{split}{number:04}"


def tree(layout: str, images: str, labels: str, ending: str, **more: Any) -> Tree:
    return Tree(layout, f"{images}/{FRAME}_leftImg8bit.{{suffix}}", f"{labels}/{FRAME}_gtFine_{ending}", **more)


ZIPS = ("leftImg8bit_trainvaltest/leftImg8bit", "gtFine_trainvaltest/gtFine")


class TestIDD(DomainCase):
    name = "idd"
    module = IDDDataModule
    expected: ClassVar = {**dict(enumerate(TRAIN_IDS)), UNKNOWN: 255}
    trees: ClassVar = [
        tree("as published, polygons", "leftImg8bit", "gtFine", "polygons.json"),
        tree("as published, polygons", "IDD_Segmentation/leftImg8bit", "IDD_Segmentation/gtFine", "polygons.json"),
        tree("archives' folders, polygons", *ZIPS, "polygons.json"),
        tree("as published, ids", "leftImg8bit", "gtFine", "labelids.png", write=write_ids),
        tree("as published, ids", "leftImg8bit", "gtFine", "labelIds.png", write=write_ids),
        tree("archives' folders, ids", *ZIPS, "labelids.png", write=write_ids),
        tree("as published, csTrainIds", "leftImg8bit", "gtFine", "labelcsTrainIds.png", write=write_grey, train_ids=True),
        tree("archives' folders, csTrainIds", *ZIPS, "labelcstrainids.png", write=write_grey, train_ids=True),
    ]
    image = f"leftImg8bit/{FRAME}_leftImg8bit.{{suffix}}"
    label = f"gtFine/{FRAME}_gtFine_polygons.json"

    def fields(self, split: str, number: int) -> dict[str, Any]:
        return {"split": split, "drive": number // 2, "number": number, "suffix": "png" if number % 2 else "jpg"}

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        write_polygons(path, raw)

    @pytest.mark.parametrize("ending", ["labellevel3Ids.png", "labelLevel3Ids.png"])
    def test_level_3_ids_are_a_last_resort(self, root: Path, tmp_path: Path, ending: str) -> None:
        lossy = tree("as published, level3Ids", "leftImg8bit", "gtFine", ending, write=lambda path, _: write_grey(path, stripes(LEVEL_3)))
        other = self.write_tree(tmp_path / "other", lossy)
        for file in (other / "leftImg8bit").rglob("*_leftImg8bit.*"):
            write_image(file, 12, 3 * len(LEVEL_3))
        domain = IDD(other, "val")
        assert domain.layout.name == "as published, level3Ids"
        expected = stripes([OF_LEVEL_3.get(level, 255) for level in LEVEL_3])
        np.testing.assert_array_equal(domain.read_label(domain.samples[0]), expected)
        assert "train" not in domain.classes
        assert "rail track counts as terrain" in domain.notes[0]
        self.write_tree(root, lossy)
        assert IDD(root, "val").layout.name == "as published, polygons"

    def test_the_order_of_preference(self, root: Path, tmp_path: Path) -> None:
        for kind, ending in (("csTrainIds", "labelcsTrainIds.png"), ("ids", "labelids.png")):
            self.write_tree(root, tree("", "leftImg8bit", "gtFine", ending, write=write_grey, train_ids=True))
            domain = IDD(root, "train")
            assert domain.layout.name == f"as published, {kind}"
            assert domain.notes == []

    def test_labels_that_were_made_for_some_frames_only(self, root: Path) -> None:
        self.write_tree(root, tree("", "leftImg8bit", "gtFine", "labelids.png", write=write_ids))
        next((root / "gtFine/train").rglob("*_labelids.png")).unlink()
        domain = IDD(root, "train")
        assert len(domain) == 4
        assert domain.layout.name == "as published, polygons"
        assert domain.notes == ["1 of 4 images have no label of ids; polygons are read for all"]

    def test_names_say_the_drive(self, root: Path) -> None:
        assert [sample.name for sample in self.open(root).samples][:3] == ["000_train0000", "000_train0001", "001_train0002"]

    @pytest.mark.parametrize("text", ["{", "[]", "{}", '{"imgWidth": 3, "imgHeight": 3, "objects": [{"label": "road"}]}', "\xff"])
    def test_broken_json_is_named(self, root: Path, text: str) -> None:
        domain = self.open(root)
        domain.samples[0].label.write_bytes(text.encode("latin-1"))
        with pytest.raises(DataError, match="not a complete IDD label") as error:
            domain[0]
        assert str(domain.samples[0].label) in str(error.value)

    @pytest.mark.parametrize("size", ["1e9", "20001", "0", "-3", "1e999"])
    def test_absurd_sizes_are_reported(self, root: Path, size: str) -> None:
        domain = self.open(root)
        domain.samples[0].label.write_text(f'{{"imgWidth": {size}, "imgHeight": 6, "objects": []}}')
        with pytest.raises(DataError, match="not a complete IDD label"):
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


def test_unlabelled_background_and_unknown_groups_are_ignored() -> None:
    label = rasterize(annotation(square("flying saucergroup", 0, 4, 0, 6), square("autorickshawgroup", 4, 8, 0, 6)))
    assert (label[:, :4] == UNLABELED).all()
    assert (label[:, 4:] == NAMES.index("autorickshaw")).all()


def write_frame(root: Path, drive: int, frame: str, suffix: str, label: str = "car", split: str = "val") -> None:
    write_image(root / f"leftImg8bit/{split}/{drive}/{frame}_leftImg8bit.{suffix}", 6, 8)
    write_polygons(root / f"gtFine/{split}/{drive}/{frame}_gtFine_polygons.json", np.full((6, 8), NAMES.index(label), np.uint8))


PART_1, PART_2 = ["0_005506", "199_005507"], ["201_frame1252", "580_0026514"]


@pytest.fixture(params=["one folder", "side by side"])
def both_parts(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    first, second = ("", "") if request.param == "one folder" else ("IDD_Segmentation", "idd20kII")
    for drive, frame in (name.split("_") for name in PART_1):
        write_frame(tmp_path / first, int(drive), frame, "png")
    for drive, frame in (name.split("_") for name in PART_2):
        write_frame(tmp_path / second, int(drive), frame, "jpg", "train")
    return tmp_path


@pytest.mark.parametrize(("parts", "names"), [([1], PART_1), ([2], PART_2), ([1, 2], PART_1 + PART_2), ((2, 1), PART_1 + PART_2)])
def test_parts(both_parts: Path, parts: list[int], names: list[str]) -> None:
    domain = IDD(both_parts, "val", parts=parts)
    assert [sample.name for sample in domain.samples] == names
    assert ("train" in domain.classes) == (2 in parts)
    assert domain.notes == []
    # The last frame is of part II whenever that is read: a train; otherwise a car.
    assert set(domain[len(domain) - 1]["label"].unique().tolist()) == {16 if 2 in parts else 13}


def test_part_1_is_the_default(both_parts: Path) -> None:
    domain = IDD(both_parts, "val")
    assert [sample.name for sample in domain.samples] == PART_1
    assert domain.official_counts == {"train": 6993, "val": 981}
    assert IDD(both_parts, "val", parts=[2]).official_counts == {"val": 1055}
    assert IDD(both_parts, "val", parts=[1, 2]).official_counts == {"val": 2036}


def test_the_other_part_is_not_asked_for_its_labels(both_parts: Path) -> None:
    for label in both_parts.rglob("*frame1252_gtFine_polygons.json"):
        label.unlink()
    assert len(IDD(both_parts, "val")) == 2
    with pytest.raises(DataError, match=r"1 of \d images .* have no label"):
        IDD(both_parts, "val", parts=[1, 2])


def test_parts_with_different_labels(tmp_path: Path) -> None:
    """Polygons are there for both, ids were made for one."""
    write_frame(tmp_path / "IDD_Segmentation", 3, "000001", "png")
    write_ids(tmp_path / "IDD_Segmentation/gtFine/val/3/000001_gtFine_labelids.png", np.full((6, 8), NAMES.index("car"), np.uint8))
    write_frame(tmp_path / "idd20kII", 205, "frame1", "jpg")
    domain = IDD(tmp_path, "val", parts=[1, 2])
    assert len(domain) == 2
    assert domain.layout.name == "as published, polygons"
    assert IDD(tmp_path, "val").layout.name == "as published, ids"


@pytest.mark.parametrize("drive", [7, 201])
def test_a_part_that_is_not_there(tmp_path: Path, drive: int) -> None:
    write_frame(tmp_path, drive, "000001", "png")
    absent = "part I (drives 0 to 199)" if drive == 201 else "part II (drives from 201 on)"
    for parts in ([1 if drive == 201 else 2], [1, 2]):
        with pytest.raises(DataError) as error:
            IDD(tmp_path, "val", parts=parts)
        assert f"no image of {absent} for the split 'val'; the option parts={parts}" in str(error.value)


def test_a_part_without_labels(tmp_path: Path) -> None:
    write_frame(tmp_path, 7, "000001", "png")
    write_frame(tmp_path, 201, "frame1", "jpg")
    next((tmp_path / "gtFine/val/7").iterdir()).unlink()
    with pytest.raises(DataError, match=r"1 of 1 images .* have no label"):
        IDD(tmp_path, "val")


@pytest.mark.parametrize("parts", [[], [3], [1, 3], [0]])
def test_parts_that_do_not_exist(tmp_path: Path, parts: list[int]) -> None:
    with pytest.raises(ConfigurationError, match="none of"):
        IDD(tmp_path, "val", parts=parts)


def test_the_published_frames_fall_into_their_parts(shared: Path) -> None:
    names = (shared / "data/samples/idd_autonue/val_names_part1_and_2.txt").read_text().split()
    assert Counter(part_of(name.split("/", 1)[1]) for name in names) == {1: 981, 2: 1055}


class TestPolygonCache:
    @pytest.fixture
    def domain(self, tmp_path: Path) -> IDD:
        write_frame(tmp_path / "idd", 0, "000001", "png")
        return IDD(tmp_path / "idd", "val")

    @staticmethod
    def read(domain: IDD) -> set[int]:
        return set(np.unique(domain.read_label(domain.samples[0])).tolist())

    @staticmethod
    def entries(cache: Path) -> list[Path]:
        return [path for path in cache.rglob("*") if path.is_file()]

    def test_is_drawn_once(self, domain: IDD, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.read(domain) == {13}
        (entry,) = self.entries(cache)
        assert entry.suffix == ".png"
        monkeypatch.setattr("pin_memory.domains.readers.idd.rasterize", pytest.fail)
        assert self.read(domain) == {13}

    def test_a_changed_file_is_drawn_anew(self, domain: IDD) -> None:
        assert self.read(domain) == {13}
        path, raw = domain.samples[0].label, np.full((6, 8), NAMES.index("bus"), np.uint8)
        before = path.stat()
        write_polygons(path, raw)
        assert path.stat().st_size == before.st_size
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
        assert self.read(domain) == {15}

    @pytest.mark.parametrize("damage", ["cut", "emptied", "flipped", "no picture"])
    def test_a_damaged_entry_is_drawn_anew(self, domain: IDD, cache: Path, damage: str) -> None:
        self.read(domain)
        (entry,) = self.entries(cache)
        intact = entry.read_bytes()
        flipped = bytearray(intact)
        flipped[intact.index(b"IDAT") + 6] ^= 0xFF
        entry.write_bytes({"cut": intact[: len(intact) // 2], "emptied": b"", "flipped": bytes(flipped), "no picture": b"x" * 99}[damage])
        assert self.read(domain) == {13}
        assert entry.read_bytes() == intact

    def test_can_be_switched_off(self, domain: IDD, cache: Path) -> None:
        assert self.read(IDD(domain.root, "val", cache_polygons=False)) == {13}
        assert self.entries(cache) == []

    def test_a_cache_that_cannot_be_written(
        self, domain: IDD, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("PIN_MEMORY_CACHE", str(tmp_path / "file"))
        assert self.read(domain) == {13}
        assert "drawn polygons cannot be kept" in caplog.text
