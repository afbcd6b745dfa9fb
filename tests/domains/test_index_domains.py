"""The data sets whose labels are 8-bit index maps: GTAV, Cityscapes, BDD100K, Mapillary, CamVid."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from pin_memory.domains import (
    BDD100KDataModule,
    CamVid,
    CamVidDataModule,
    CityscapesDataModule,
    GTAVDataModule,
    Mapillary,
    MapillaryDataModule,
    Sample,
)
from pin_memory.errors import ConfigurationError
from tests.domains.domain_cases import IndexLabelCase, write_grey, write_palette

CITYSCAPES_IDS = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15}
CITYSCAPES_IDS |= {31: 16, 32: 17, 33: 18, 0: 255, 6: 255, 18: 255, 29: 255, 34: 255, 35: 255, 255: 255}


class TestGTAV(IndexLabelCase):
    name = "gtav"
    module = GTAVDataModule
    expected: ClassVar = CITYSCAPES_IDS
    written: ClassVar = {"": 10}
    sizes: ClassVar = {"train": 8, "val": 2, "test": 2}

    def image_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"images/{number + 1:05}.png"

    def label_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"labels/{number + 1:05}.png"

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        write_palette(path, raw)

    def test_converted_labels_beside_the_originals_are_left_out(self, root: Path) -> None:
        write_grey(root / "labels/00001_labelTrainIds.png", np.zeros((4, 4), np.uint8))
        assert [sample.label.name for sample in self.open(root).samples] == [f"{number:05}.png" for number in range(1, 9)]

    def test_validation_takes_the_last_by_name(self, root: Path) -> None:
        assert [sample.name for sample in self.open(root, "val").samples] == ["00009", "00010"]


class TestCityscapes(IndexLabelCase):
    name = "cityscapes"
    module = CityscapesDataModule
    expected: ClassVar = CITYSCAPES_IDS

    def image_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"leftImg8bit/{split}/{split}burg/{split}burg_00000{number}_000019_leftImg8bit.png"

    def label_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"gtFine/{split}/{split}burg/{split}burg_00000{number}_000019_gtFine_labelIds.png"

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        write_grey(path, raw)
        write_grey(path.with_name(path.name.replace("labelIds", "instanceIds")), raw)

    def test_name_says_the_city_once(self, root: Path) -> None:
        assert self.open(root).samples[0].name == "trainburg_000000_000019"


class TestBDD100K(IndexLabelCase):
    name = "bdd100k"
    module = BDD100KDataModule
    expected: ClassVar = {**{train: train for train in range(19)}, 19: 255, 40: 255, 255: 255}

    def image_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"images/10k/{split}/{split}0-{number:08x}.jpg"

    def label_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"labels/sem_seg/masks/{split}/{split}0-{number:08x}.png"

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        write_grey(path, raw)

    def test_grey_photo_becomes_rgb(self, root: Path) -> None:
        domain = self.open(root)
        Image.fromarray(np.full((8, 9), 77, np.uint8)).save(domain.samples[0].image)
        image = domain.read_image(domain.samples[0])
        assert image.shape == (8, 9, 3)
        assert (image == 77).all()

    def test_orientation_tag_does_not_turn_the_image(self, root: Path) -> None:
        domain = self.open(root)
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (9, 8)).save(domain.samples[0].image, exif=exif)
        assert domain.read_image(domain.samples[0]).shape == (8, 9, 3)


class TestMapillary(IndexLabelCase):
    name = "mapillary"
    module = MapillaryDataModule
    expected: ClassVar = {
        **{13: 0, 24: 0, 41: 0, 2: 1, 15: 1, 17: 2, 6: 3, 3: 4, 45: 5, 47: 5, 48: 6, 50: 7, 30: 8, 29: 9, 27: 10, 19: 11},
        **{20: 12, 21: 12, 22: 12, 55: 13, 61: 14, 54: 15, 58: 16, 57: 17, 52: 18},
        **{0: 255, 7: 255, 14: 255, 49: 255, 65: 255, 66: 255, 255: 255},
    }

    def image_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"{'training' if split == 'train' else 'validation'}/images/-{split}_{number}.jpg"

    def label_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"{'training' if split == 'train' else 'validation'}/labels/-{split}_{number}.png"

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        write_palette(path, raw)


class TestCamVid(IndexLabelCase):
    name = "camvid"
    module = CamVidDataModule
    expected: ClassVar = {0: 10, 1: 2, 2: 5, 3: 0, 4: 1, 5: 8, 6: 7, 7: 4, 8: 13, 9: 11, 10: 12, 11: 255, 12: 255, 255: 255}
    written: ClassVar = {"train": 4, "val": 2, "test": 3}
    sizes: ClassVar = {"train": 4, "val": 2, "test": 3}

    def image_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"images/{split}/{split}_{number:05}.jpg"

    def label_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"labels/{split}/{split}_{number:05}.png"

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        write_grey(path, raw)


class TestCamVidDrives(TestCamVid):
    """Drives as domains: frames of a drive lie in any folder."""

    written: ClassVar = {"train": 3, "val": 2, "test": 6}
    sizes: ClassVar = {"train": 5, "val": 1, "test": 6}
    options: ClassVar = {"drives": ["0001TP"]}

    def image_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"images/{split}/{self.drive(number)}_{split}{number}.jpg"

    def label_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"labels/{split}/{self.drive(number)}_{split}{number}.png"

    def drive(self, number: int) -> str:
        return "0001TP" if number % 2 == 0 else "0006R0"

    def test_splits_each_drive(self, root: Path) -> None:
        both = {split: {s.name for s in CamVid(root, split, drives=["0001TP", "0006R0"]).samples} for split in ("train", "val", "test")}
        assert len(both["test"]) == 11
        assert both["train"] | both["val"] == both["test"]
        assert {name.split("_")[0] for name in both["val"]} == {"0001TP", "0006R0"}

    def test_unknown_drive(self, root: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"no drive Seq99.*0001TP, 0006R0"):
            CamVid(root, "train", drives=["Seq99"])
        # YAML reads an unquoted 0016E5 so.
        with pytest.raises(ConfigurationError, match="quote them"):
            CamVid(root, "train", drives=[16e5])  # type: ignore[list-item]


def test_the_real_camvid(shared: Path) -> None:
    sizes = {
        drive: [len(CamVid(shared / "data/camvid", split, drives=[drive])) for split in ("train", "val", "test")]
        for drive in ("0001TP", "0006R0", "0016E5", "Seq05VD")
    }
    assert sizes == {"0001TP": [100, 24, 124], "0006R0": [81, 20, 101], "0016E5": [244, 61, 305], "Seq05VD": [137, 34, 171]}
    domain = CamVid(shared / "data/camvid", "test")
    item = domain[0]
    assert len(domain) == 233
    assert item["image"].shape == (3, 360, 480)
    shares = np.bincount(item["label"].flatten().numpy(), minlength=256) / (360 * 480)
    # Mostly road (0), building (2) and sky (10), and a road at the bottom.
    assert shares[[0, 2, 10]].sum() > 0.5
    assert (item["label"][-40:] == 0).float().mean() > 0.5


def test_real_samples_of_other_data_sets(shared: Path) -> None:
    samples = shared / "data/samples"
    cityscapes = CityscapesDataModule(samples / "cityscapes_mmseg_pseudo").dataset("val")
    converted = np.asarray(Image.open(next((samples / "cityscapes_mmseg_pseudo").rglob("*_labelTrainIds.png"))))
    # Not all: the two files were shrunk one by one.
    assert (cityscapes.read_label(cityscapes.samples[0]) == converted).mean() > 0.99
    bdd = BDD100KDataModule(samples / "bdd100k_mmseg_pseudo").dataset("train")
    assert len(bdd) == 3
    assert set(bdd[0]["label"].unique().tolist()) <= {2, 8}
    name = "__CRyFzoDOXn6unQ6a3DnQ"
    vistas = samples / "mapillary_mmseg_pseudo"
    mapillary = object.__new__(Mapillary)
    label = mapillary.read_label(Sample(name, vistas / f"images/{name}.jpg", vistas / f"v1.2/{name}.png"))
    # Raw ids 17, 44 and 45: building, pole support and pole.
    assert set(np.unique(label).tolist()) == {2, 5, 255}
