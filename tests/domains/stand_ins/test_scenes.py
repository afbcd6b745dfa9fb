"""The stand-ins: drawn the same every time, with all classes, and encoded as the real data sets are."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from pin_memory.domains.stand_ins.looks import LOOKS
from pin_memory.domains.stand_ins.models import CODES, train_ids
from pin_memory.domains.stand_ins.scenes import Scene, draw_scene
from pin_memory.domains.stand_ins.writers import MARKER, StandIns, polygons
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.labels import CLASSES, IGNORE, label_table

SEED, WIDTH, TRAIN, VAL = 5, 160, 2, 4

# Raw id -> train id, as published: ids that are not listed are ignored.
CITYSCAPES = dict(zip([7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33], range(19), strict=True))
SYNTHIA = dict(zip([3, 4, 2, 21, 5, 7, 15, 9, 6, 16, 1, 10, 17, 8, 18, 19, 20, 12, 11], range(19), strict=True))
MAPILLARY = {13: 0, 24: 0, 41: 0, 2: 1, 15: 1, 17: 2, 6: 3, 3: 4, 45: 5, 47: 5, 48: 6, 50: 7, 30: 8, 29: 9, 27: 10, 19: 11}
MAPILLARY |= {20: 12, 21: 12, 22: 12, 55: 13, 61: 14, 54: 15, 58: 16, 57: 17, 52: 18}
IDD = {name: train for train, name in enumerate(CLASSES) if name != "terrain"} | {"non-drivable fallback": 9}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "stand_ins"
    assert StandIns(root, TRAIN, SEED, WIDTH).prepare()
    return root


def scenes(look: str, first: int, count: int) -> list[Scene]:
    return [draw_scene(look, SEED, index, WIDTH) for index in range(first, first + count)]


def rasterise(objects: list[dict], size: tuple[int, int], values: dict[str, int], background: int) -> np.ndarray:
    """Fill IDD polygons in list order, as the data set's own tool does."""
    picture = Image.new("L", size[::-1], background)
    for item in objects:
        value = values.get(item["label"], IGNORE)
        ImageDraw.Draw(picture).polygon([tuple(point) for point in item["polygon"]], fill=value)
    return np.array(picture)


@pytest.mark.parametrize("look", LOOKS)
def test_same_arguments_give_the_same_bytes_in_any_order(look: str) -> None:
    first = draw_scene(look, SEED, 3, WIDTH)
    draw_scene("B", SEED, 7, WIDTH)
    again = draw_scene(look, SEED, 3, WIDTH)
    for name in ("image", "label", "detail"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert first.image.shape == (*first.label.shape, 3)
    assert first.image.dtype == first.label.dtype == first.detail.dtype == np.uint8
    assert not np.array_equal(first.image, draw_scene(look, SEED + 1, 3, WIDTH).image[: first.image.shape[0], : first.image.shape[1]])


@pytest.mark.parametrize("look", LOOKS)
def test_every_class_occurs_and_the_street_dominates(look: str) -> None:
    counts = sum(np.bincount(draw_scene(look, SEED, index, 320).label.ravel(), minlength=256) for index in range(24))
    shares = dict(zip(CLASSES, counts[:19] / counts.sum(), strict=True))
    assert {name for name in CLASSES if not shares[name]} == LOOKS[look].absent
    assert sum(shares[name] for name in ("road", "sidewalk", "building", "vegetation", "terrain", "sky")) > 0.6
    assert max(shares[name] for name in ("train", "motorcycle", "bicycle", "traffic light", "rider")) < 0.05
    assert shares["road"] > 0.12


@pytest.mark.parametrize("look", LOOKS)
def test_scene_label_follows_from_its_details(look: str) -> None:
    scene = draw_scene(look, SEED, 0, WIDTH)
    assert np.array_equal(scene.label, train_ids(LOOKS[look])[scene.detail])
    assert scene.detail.max() < len(CODES)


def test_synthia_ignores_lane_markings_and_gtav_licence_plates() -> None:
    assert train_ids(LOOKS["S"])[CODES["lane marking"]] == IGNORE
    assert train_ids(LOOKS["C"])[CODES["lane marking"]] == CLASSES.index("road")
    assert train_ids(LOOKS["G"])[CODES["licence plate"]] == IGNORE
    assert train_ids(LOOKS["C"])[CODES["licence plate"]] == CLASSES.index("car")


def check(images: list[Path], labels: list[np.ndarray], expected: list[Scene]) -> None:
    assert len(images) == len(labels) == len(expected)
    for image, label, scene in zip(images, labels, expected, strict=True):
        assert np.array_equal(label, scene.label)
        read = np.array(Image.open(image).convert("RGB"))
        if image.suffix == ".png":
            assert np.array_equal(read, scene.image)
        else:
            assert np.abs(read.astype(int) - scene.image).mean() < 14


def test_gtav_is_a_palette_png_of_label_ids(written: Path) -> None:
    pictures = [Image.open(path) for path in sorted((written / "gtav" / "labels").glob("*.png"))]
    assert {picture.mode for picture in pictures} == {"P"}
    images = sorted((written / "gtav" / "images").glob("*.png"))
    assert images[0].name == "00001.png"
    check(images, [label_table(CITYSCAPES)[np.array(picture)] for picture in pictures], scenes("G", 0, TRAIN + VAL))


def test_synthia_is_16_bit_with_the_class_in_red(written: Path) -> None:
    root = written / "synthia" / "RAND_CITYSCAPES"
    labels = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((root / "GT" / "LABELS").glob("*.png"))]
    assert all(label.dtype == np.uint16 and label.shape[2] == 3 for label in labels)
    assert max(label[..., 1].max() for label in labels) > 255
    images = sorted((root / "RGB").glob("*.png"))
    assert images[0].name == "0000000.png"
    check(images, [label_table(SYNTHIA)[label[..., 2]] for label in labels], scenes("S", 0, TRAIN + VAL))


@pytest.mark.parametrize(("split", "first", "count"), [("train", 0, TRAIN), ("val", TRAIN, VAL)])
class TestSplits:
    def test_cityscapes_has_label_ids(self, written: Path, split: str, first: int, count: int) -> None:
        root = written / "cityscapes"
        images = sorted((root / "leftImg8bit" / split).glob("*/*_leftImg8bit.png"))
        raw = [np.array(Image.open(path)) for path in sorted((root / "gtFine" / split).glob("*/*_gtFine_labelIds.png"))]
        assert all(label.ndim == 2 for label in raw)
        assert any((label == 1).any() for label in raw), "no ego vehicle"
        check(images, [label_table(CITYSCAPES)[label] for label in raw], scenes("C", first, count))

    def test_bdd_has_train_ids(self, written: Path, split: str, first: int, count: int) -> None:
        root, expected = written / "bdd100k", scenes("B", first, count)
        images = sorted((root / "images" / "10k" / split).glob("*.jpg"), key=lambda path: path.stem[-8:])
        masks = [root / "labels" / "sem_seg" / "masks" / split / f"{path.stem}.png" for path in images]
        check(images, [np.array(Image.open(path)) for path in masks], expected)

    def test_mapillary_is_a_palette_png_of_v12_ids(self, written: Path, split: str, first: int, count: int) -> None:
        root = written / "mapillary" / {"train": "training", "val": "validation"}[split]
        images = sorted((root / "images").glob("*.jpg"))
        pictures = [Image.open(root / "labels" / f"{path.stem}.png") for path in images]
        assert {picture.mode for picture in pictures} == {"P"}
        assert {len(path.stem) for path in images} == {22}
        check(images, [label_table(MAPILLARY)[np.array(picture)] for picture in pictures], scenes("M", first, count))

    def test_idd_polygons_fill_to_the_label_map(self, written: Path, split: str, first: int, count: int) -> None:
        images = list((written / "idd" / "leftImg8bit" / split).glob("*/*_leftImg8bit.*"))
        images.sort(key=lambda path: int(path.name.split("_")[0].removeprefix("frame")))
        assert {path.suffix for path in images} == {".png", ".jpg"}
        for image, scene in zip(images, scenes("I", first, count), strict=True):
            name = image.name.split("_leftImg8bit")[0]
            path = written / "idd" / "gtFine" / split / image.parent.name / f"{name}_gtFine_polygons.json"
            drawn = json.loads(path.read_text())
            size = drawn["imgHeight"], drawn["imgWidth"]
            assert size == scene.label.shape
            assert (rasterise(drawn["objects"], size, IDD, IGNORE) == scene.label).mean() >= 0.999


def test_polygons_restore_rings_in_rings() -> None:
    detail = np.full((40, 60), CODES["building"], np.uint8)
    for margin, name in ((4, "sky"), (8, "building"), (12, "terrain"), (18, "kerb")):
        detail[margin:-margin, margin : 60 - margin] = CODES[name]
    detail[0, 0] = detail[1, 1] = CODES["pole"]
    names = {"building": 0, "sky": 1, "non-drivable fallback": 2, "curb": 3, "pole": 4}
    expected = np.select([detail == CODES[name] for name in ("building", "sky", "terrain", "kerb", "pole")], range(5))
    assert np.array_equal(rasterise(polygons(detail), detail.shape, names, IGNORE), expected)


def test_drawing_again_changes_nothing(written: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    assert not StandIns(written, TRAIN, SEED, WIDTH).prepare()
    assert {path: path.stat().st_mtime_ns for path in written.rglob("*")} == before
    assert [path.name for path in written.parent.iterdir()] == [written.name]
    assert json.loads((written / MARKER).read_text())["seed"] == SEED


def test_other_settings_replace_the_set(tmp_path: Path) -> None:
    root = tmp_path / "set"
    assert StandIns(root, 1, SEED, 96).prepare()
    assert StandIns(root, 2, SEED, 96).prepare()
    assert len(list((root / "gtav" / "images").iterdir())) == 2 + VAL
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_interrupted_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def draw(*arguments: object) -> Scene:
        calls.append(arguments)
        if len(calls) > 6:
            raise KeyboardInterrupt
        return draw_scene(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("pin_memory.domains.stand_ins.writers.draw_scene", draw)
    with pytest.raises(KeyboardInterrupt):
        StandIns(tmp_path / "set", 1, SEED, 96).prepare()
    assert list(tmp_path.iterdir()) == []


def test_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        StandIns(tmp_path, 1, SEED, 96).prepare()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("settings", [{"images_per_domain": 0}, {"width": 32}])
def test_useless_settings_are_refused(tmp_path: Path, settings: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        StandIns(tmp_path / "set", **settings)
