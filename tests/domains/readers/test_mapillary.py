"""Mapillary Vistas: the archives of versions 1.2 and 2.0, converted copies, and two class maps."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from pin_memory.domains import Mapillary, MapillaryDataModule
from pin_memory.utils.errors import ConfigurationError, DataError
from tests.domains.readers.domain_cases import IndexLabelCase, Tree, stripes, write_grey, write_image, write_palette

# DATASETS.md, section 0, by label id: version 1.2 as in RobustNet and as in Rein, and version 2.0.
V12 = [255, 255, 1, 4, 255, 255, 3, 255, 255, 255, 255, 255, 255, 0, 255, 1, 255, 2, 255, 11, 12, 12, 12, 255, 0, 255, 255, 10, 255, 9, 8]
V12 += [255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 255, 255, 255, 5, 255, 5, 6, 255, 7, 255, 18, 255, 15, 13, 255, 17, 16, 255]
V12 += [255, 14, 255, 255, 255, 255]
REIN = [255, 255, 1, 4, 255, 255, 3, 0, 0, 1, 0, 1, 255, 0, 0, 1, 255, 2, 255, 11, 12, 12, 12, 0, 0, 255, 255, 10, 255, 9, 8, 255, 255, 255]
REIN += [255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 5, 5, 7, 5, 6, 7, 7, 255, 18, 255, 15, 13, 255, 17, 16, 255, 255, 14, 255, 255]
REIN += [255, 255]
V20 = [255, 255, 255, 255, 1, 4, 255, 255, 255, 255, 255, 255, 3, 255, 255, 255, 255, 255, 255, 255, 255, 0, 255, 255, 1, 255, 255, 2, 255]
V20 += [255, 11, 11, 12, 12, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 255, 255, 10, 255, 9, 8, 255]
V20 += [255, 255, 255, 255, 255, 255, 255, 255, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 5, 5, 255, 5, 255, 6, 6, 6, 6, 6, 6]
V20 += [255, 255, 255, 7, 7, 7, 255, 7, 255, 18, 255, 15, 13, 255, 17, 16, 255, 255, 14, 255, 255, 255, 255, 255, 255, 255, 255, 255]

FOLDERS = {"train": "training", "val": "validation"}


def key(split: str, number: int) -> str:
    return f"-{split}_{number}"


def published(layout: str, labels: str, ending: str = "", **more: Any) -> Tree:
    return Tree(layout, "{folder}/images/{key}.jpg", f"{{folder}}/{labels}/{{key}}{ending}.png", **more)


class TestMapillary(IndexLabelCase):
    name = "mapillary"
    module = MapillaryDataModule
    expected: ClassVar = dict(enumerate(V12)) | {66: 255, 123: 255, 255: 255}
    trees: ClassVar = [
        published("v1.2 archive", "labels"),
        published("v1.2 labels of the v2.0 archive", "v1.2/labels"),
        published("v1.2 archive, labelTrainIds", "labels", "_labelTrainIds", write=write_grey, train_ids=True),
        published("v1.2 labels of the v2.0 archive, labelTrainIds", "v1.2/labels", "_labelTrainIds", write=write_grey, train_ids=True),
        Tree("cityscapes_trainIdLabel", "{folder}/images/{key}.jpg", "cityscapes_trainIdLabel/{split}/label/{key}.png", write_grey, True),
        Tree("half-size copies", "half/{split}_img/{key}.jpg", "half/{split}_label/{key}.png", write_grey, True),
    ]
    image = "{folder}/images/{key}.jpg"
    label = "{folder}/labels/{key}.png"

    def fields(self, split: str, number: int) -> dict[str, Any]:
        return {"split": split, "folder": FOLDERS[split], "key": key(split, number)}

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        write_palette(path, raw)

    def test_converted_copies_are_noted(self, tmp_path: Path) -> None:
        for place, tree in enumerate(self.trees):
            domain = Mapillary(self.write_tree(tmp_path / str(place), tree), "val")
            assert domain.layout.scale == (0.5 if "half" in tree.layout else 1)
            assert any("train ids that another tool made" in note for note in domain.notes) == tree.train_ids

    def test_published_labels_are_preferred_to_converted_ones(self, tmp_path: Path) -> None:
        for tree in reversed(self.trees):
            self.write_tree(tmp_path, tree)
        domain = Mapillary(tmp_path, "train")
        assert domain.layout.name == "v1.2 labels of the v2.0 archive"
        assert domain.notes == []

    def test_counts(self) -> None:
        assert Mapillary.official_counts == {"train": 18000, "val": 2000}


class TestMapillaryOfRein(TestMapillary):
    """The other family's class map."""

    options: ClassVar = {"class_map": "rein"}
    expected: ClassVar = dict(enumerate(REIN)) | {66: 255, 255: 255}


class TestMapillary2(TestMapillary):
    """The labels of version 2.0."""

    options: ClassVar = {"labels": "v2.0"}
    expected: ClassVar = dict(enumerate(V20)) | {124: 255, 255: 255}
    trees: ClassVar = [published("v2.0 archive", "v2.0/labels")]
    label = "{folder}/v2.0/labels/{key}.png"

    def test_converted_copies_are_noted(self, tmp_path: Path) -> None:
        tree = published("v2.0 archive, labelTrainIds", "v2.0/labels", "_labelTrainIds", write=write_grey, train_ids=True)
        domain = Mapillary(self.write_tree(tmp_path, tree), "val", labels="v2.0")
        assert domain.layout.name == tree.layout
        assert "train ids that another tool made" in domain.notes[0]

    def test_published_labels_are_preferred_to_converted_ones(self, tmp_path: Path) -> None:
        for tree in (*TestMapillary.trees, *self.trees):
            self.write_tree(tmp_path, tree)
        assert Mapillary(tmp_path, "train", labels="v2.0").layout.name == "v2.0 archive"
        assert Mapillary(tmp_path, "train").layout.name == "v1.2 labels of the v2.0 archive"

    def test_asking_for_the_version_that_is_not_there(self, root: Path) -> None:
        with pytest.raises(DataError, match=r"labels of v2.0, but labels=v1.2 is asked for; set labels: v2.0"):
            Mapillary(root, "train")


def test_options_that_do_not_exist(tmp_path: Path) -> None:
    for options, message in (
        ({"labels": "v1.1"}, "none of v1.2, v2.0"),
        ({"class_map": "official"}, "none of robustnet, rein"),
        ({"labels": "v2.0", "class_map": "rein"}, "wrong classes for the names of version 2.0"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            Mapillary(tmp_path, "val", **options)


def write_vistas(root: Path, labels: str = "labels") -> Path:
    write_image(root / "validation/images/a.jpg", 12, 3)
    write_palette(root / f"validation/{labels}/a.png", stripes([13]))
    return root


def config_of(labels: list[dict[str, str]]) -> str:
    return json.dumps({"version": "0", "labels": labels})


def vistas_2(number: int) -> dict[str, str]:
    """A class of version 2.0: the readable names of DATASETS.md, section 5, where the reader looks."""
    readable = {4: "Curb", 21: "Road", 24: "Sidewalk", 27: "Building", 30: "Person", 61: "Sky", 63: "Terrain", 64: "Vegetation", 85: "Pole"}
    readable |= {100: "Traffic Sign (Front)", 105: "Bicycle", 107: "Bus", 108: "Car", 110: "Motorcycle", 114: "Truck"}
    return {"name": f"machine-{number}", "readable": readable.get(number, f"Class {number}")}


@pytest.fixture
def published_config(shared: Path) -> Path:
    """The real config.json of version 1.1, whose classes are those of 1.2."""
    return shared / "data/samples/mseg_api/tests/test_data/mapillary-vistas-dataset_public_v1.1_config.json"


@pytest.mark.parametrize("name", ["config.json", "config_v1.2.json"])
def test_the_published_config_fits(tmp_path: Path, published_config: Path, name: str) -> None:
    shutil.copy(published_config, write_vistas(tmp_path) / name)
    assert len(Mapillary(tmp_path, "val")) == 1


def swap(labels: list[dict[str, str]]) -> None:
    labels[13], labels[15] = labels[15], labels[13]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (list.pop, "expected the 66 classes of Mapillary Vistas v1.2, found 65"),
        (swap, "class 13 .* is expected to be 'construction--flat--road', found 'construction--flat--sidewalk'"),
    ],
)
def test_a_config_of_other_classes(
    tmp_path: Path, published_config: Path, change: Callable[[list[dict[str, str]]], None], message: str
) -> None:
    labels = json.loads(published_config.read_text())["labels"]
    change(labels)
    (write_vistas(tmp_path) / "config.json").write_text(config_of(labels))
    with pytest.raises(DataError, match=message) as error:
        Mapillary(tmp_path, "val")
    assert str(tmp_path / "config.json") in str(error.value)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"labels": 3}', '{"labels": [{"color": 3}]}'])
def test_a_config_that_is_none(tmp_path: Path, text: str) -> None:
    (write_vistas(tmp_path) / "config.json").write_text(text)
    with pytest.raises(DataError, match=r"not a config\.json of Mapillary Vistas"):
        Mapillary(tmp_path, "val")


def test_the_config_of_version_2(tmp_path: Path) -> None:
    write_vistas(tmp_path, "v2.0/labels")
    labels = [vistas_2(number) for number in range(124)]
    (tmp_path / "config_v2.0.json").write_text(config_of(labels))
    assert len(Mapillary(tmp_path, "val", labels="v2.0")) == 1
    labels.insert(50, vistas_2(50))
    (tmp_path / "config_v2.0.json").write_text(config_of(labels))
    with pytest.raises(DataError, match=r"expected the 124 classes of Mapillary Vistas v2.0, found 125"):
        Mapillary(tmp_path, "val", labels="v2.0")
    labels.pop()
    (tmp_path / "config_v2.0.json").write_text(config_of(labels))
    with pytest.raises(DataError, match=r"class 61 .* is expected to be 'Sky', found 'Class 60'"):
        Mapillary(tmp_path, "val", labels="v2.0")


def test_a_real_image(shared: Path, tmp_path: Path, published_config: Path) -> None:
    sample = shared / "data/samples/mapillary_mmseg_pseudo"
    for source, place in {"images": "images", "v1.2": "v1.2/labels", "v2.0": "v2.0/labels"}.items():
        shutil.copytree(sample / source, tmp_path / "validation" / place)
    shutil.copy(published_config, tmp_path / "config_v1.2.json")
    # Version 1.2: 17 building, 44 street light, 45 pole; version 2.0: 27 building, 84 street light, 85 pole.
    for options, values in (({}, {2, 5, 255}), ({"class_map": "rein"}, {2, 5}), ({"labels": "v2.0"}, {2, 5, 255})):
        domain = Mapillary(tmp_path, "val", **options)
        assert domain.samples[0].name == "__CRyFzoDOXn6unQ6a3DnQ"
        assert set(domain[0]["label"].unique().tolist()) == values
