"""SYNTHIA: classes in the red channel of 16-bit PNGs."""

from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest

from pin_memory.domains import CLASSES, Synthia, SynthiaDataModule
from pin_memory.utils.errors import DataError
from tests.domains.readers.domain_cases import DomainCase, Tree, stripes, write_grey, write_image

# DATASETS.md, section 0: ids 0..22.
IDS = [255, 10, 2, 0, 1, 4, 8, 5, 13, 7, 11, 18, 17, 255, 255, 6, 9, 12, 14, 15, 16, 3, 255]


def split_folders(ending: str, **more: Any) -> Tree:
    return Tree(
        f"split folders{', labelTrainIds' if ending else ''}",
        "RGB/{split}/{number:07}.png",
        f"GT/LABELS/{{split}}/{{number:07}}{ending}.png",
        numbers={"train": range(8), "val": range(8, 10)},
        **more,
    )


def one_folder(layout: str, folder: str, ending: str, **more: Any) -> Tree:
    return Tree(layout, f"{folder}RGB/{{number:07}}.png", f"{folder}GT/LABELS/{{number:07}}{ending}.png", **more)


class TestSynthia(DomainCase):
    name = "synthia"
    module = SynthiaDataModule
    expected: ClassVar = dict(enumerate(IDS)) | {23: 255, 255: 255}
    written: ClassVar = {"": 10}
    sizes: ClassVar = {"train": 8, "val": 2, "test": 2}
    trees: ClassVar = [
        one_folder("as published", "", ""),
        one_folder("as published", "RAND_CITYSCAPES/", ""),
        one_folder("as published, labelTrainIds", "", "_labelTrainIds", write=write_grey, train_ids=True),
        split_folders(""),
        split_folders("_labelTrainIds", write=write_grey, train_ids=True),
    ]
    image = "RAND_CITYSCAPES/RGB/{number:07}.png"
    label = "RAND_CITYSCAPES/GT/LABELS/{number:07}.png"

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((*raw.shape, 3), np.uint16)
        pixels[..., 2] = raw
        # The instance number, above 255 so that an 8-bit reader shows it.
        pixels[..., 1] = 300
        cv2.imwrite(str(path), pixels)

    def test_originals_are_preferred_to_converted_labels(self, root: Path) -> None:
        for number in range(10):
            write_grey(root / f"RAND_CITYSCAPES/GT/LABELS/{number:07}_labelTrainIds.png", np.zeros((4, 4), np.uint8))
        assert [sample.label.name for sample in self.open(root, "val").samples] == ["0000008.png", "0000009.png"]

    def test_ids_beyond_8_bits_are_ignored(self, root: Path) -> None:
        sample = self.open(root).samples[0]
        pixels = np.zeros((2, 2, 3), np.uint16)
        # Cut to 8 bits, these would be road and sky.
        pixels[..., 2] = [[3, 256 + 3], [513, 65535]]
        cv2.imwrite(str(sample.label), pixels)
        assert self.open(root).read_label(sample).tolist() == [[0, 255], [255, 255]]

    def test_instance_numbers_do_not_matter(self, root: Path) -> None:
        domain = self.open(root)
        pixels = np.zeros((2, 2, 3), np.uint16)
        pixels[..., 2], pixels[..., 1], pixels[..., 0] = 8, [[0, 1], [256, 65535]], 77
        cv2.imwrite(str(domain.samples[0].label), pixels)
        assert (domain.read_label(domain.samples[0]) == 13).all()

    def test_labels_of_another_encoding_are_refused(self, root: Path) -> None:
        domain = self.open(root)
        sample = domain.samples[0]
        write_image(sample.label, 12, 30)
        with pytest.raises(DataError, match=r"3 channel.* of uint8"):
            domain[0]
        write_grey(sample.label, stripes([1, 2]))
        with pytest.raises(DataError, match=r"1 channel.* of uint8") as error:
            domain[0]
        assert str(sample.label) in str(error.value)

    def test_counts(self, root: Path, tmp_path: Path) -> None:
        assert self.open(root).official_counts == {"train": 7520, "val": 1880}
        assert Synthia(self.write_tree(tmp_path / "robustnet", split_folders("")), "val").official_counts == {"train": 6580, "val": 2820}


def test_class_lists() -> None:
    absent = {"terrain", "truck", "train"}
    assert Synthia.classes == tuple(name for name in CLASSES if name not in absent)
    assert {name: len(classes) for name, classes in Synthia.score_subsets.items()} == {"miou16": 16, "miou13": 13}
    assert Synthia.score_subsets["miou16"] == Synthia.classes
    assert set(Synthia.classes) - set(Synthia.score_subsets["miou13"]) == {"wall", "fence", "pole"}


def test_a_training_folder_alone_is_not_split_again(tmp_path: Path) -> None:
    case = TestSynthia()
    for number in range(8):
        write_image(tmp_path / f"RGB/train/{number:07}.png", 12, 3)
        case.write_label(tmp_path / f"GT/LABELS/train/{number:07}.png", stripes([3]))
    assert len(Synthia(tmp_path, "train")) == 8
    with pytest.raises(DataError, match="there is no RGB/val with its labels"):
        Synthia(tmp_path, "val")


def test_robustnet_lists(tmp_path: Path) -> None:
    case = TestSynthia()
    for number in range(4):
        write_image(tmp_path / f"RGB/{number:07}.png", 12, 3)
        case.write_label(tmp_path / f"GT/LABELS/{number:07}.png", stripes([3]))
    (tmp_path / "synthia_split_train.txt").write_text("0000001.png\n0000003.png\n")
    (tmp_path / "synthia_split_val.txt").write_text("0000000.png\n")
    lists = tmp_path / "synthia_split_train.txt"
    assert [sample.name for sample in Synthia(tmp_path, "train", split_file=lists).samples] == ["0000001", "0000003"]
    assert [sample.name for sample in Synthia(tmp_path, "test", split_file=lists).samples] == ["0000000"]
