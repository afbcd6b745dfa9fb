"""Cityscapes: label ids or converted ones, in the archives' folders or out of them, with faces or blurred ones."""

import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from pin_memory.domains import Cityscapes, CityscapesDataModule
from tests.domains.readers.domain_cases import IndexLabelCase, Tree, write_grey

# DATASETS.md, section 0: label ids 0..33, and what is not listed.
IDS = [255, 255, 255, 255, 255, 255, 255, 0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255, 255, 16]
IDS += [17, 18]


FRAME = "{split}/{split}burg/{split}burg_00000{number}_000019"


def tree(layout: str, images: str, labels: str, kind: str, ending: str = "leftImg8bit") -> Tree:
    image, label = f"{images}/{FRAME}_{ending}.png", f"{labels}/{FRAME}_gtFine_{kind}.png"
    return Tree(f"{layout}, {kind}", image, label, train_ids=kind == "labelTrainIds", write=write_grey)


class TestCityscapes(IndexLabelCase):
    name = "cityscapes"
    module = CityscapesDataModule
    expected: ClassVar = dict(enumerate(IDS)) | {34: 255, 35: 255, 255: 255}
    trees: ClassVar = [
        tree(f"{image_tree}{label_part}", images, labels, encoding, image_ending)
        for encoding in ("labelIds", "labelTrainIds")
        for label_part, labels in (("", "gtFine"), (", label zip's folder", "gtFine_trainvaltest/gtFine"))
        for image_tree, images, image_ending in (
            ("as published", "leftImg8bit", "leftImg8bit"),
            ("image zip's folder", "leftImg8bit_trainvaltest/leftImg8bit", "leftImg8bit"),
            ("blurred faces", "leftImg8bit_blurred", "leftImg8bit_blurred"),
        )
    ]
    image = f"leftImg8bit/{FRAME}_leftImg8bit.png"
    label = f"gtFine/{FRAME}_gtFine_labelIds.png"

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        write_grey(path, raw)
        write_grey(path.with_name(path.name.replace("labelIds", "instanceIds")), raw)

    def test_name_says_the_city_once(self, root: Path) -> None:
        assert self.open(root).samples[0].name == "trainburg_000000_000019"

    def test_originals_are_preferred_to_converted_labels(self, root: Path) -> None:
        for label in list((root / "gtFine").rglob("*_labelIds.png")):
            write_grey(label.with_name(label.name.replace("labelIds", "labelTrainIds")), np.zeros((4, 4), np.uint8))
        assert self.open(root).layout.name == "as published, labelIds"

    def test_counts(self) -> None:
        assert Cityscapes.official_counts == {"train": 2975, "val": 500}
        assert len(Cityscapes.classes) == 19


def test_a_real_frame(shared: Path, tmp_path: Path) -> None:
    sample = shared / "data/samples/cityscapes_mmseg_pseudo"
    domain = Cityscapes(sample, "val")
    assert domain.layout.name == "as published, labelIds"
    converted = np.asarray(Image.open(next(sample.rglob("*_labelTrainIds.png"))))
    # Not all: the two files were shrunk one by one.
    assert (domain.read_label(domain.samples[0]) == converted).mean() > 0.99
    copy = shutil.copytree(sample, tmp_path / "cityscapes", ignore=shutil.ignore_patterns("*_labelIds.png"))
    domain = Cityscapes(copy, "val")
    assert domain.layout.name == "as published, labelTrainIds"
    np.testing.assert_array_equal(domain.read_label(domain.samples[0]), converted)
    assert domain[0]["image"].shape == (3, 128, 256)
