"""BDD100K: train ids as published, three trees, and releases whose images and labels do not match."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from pin_memory.domains import BDD100K, BDD100KDataModule
from pin_memory.utils.errors import DataError
from tests.domains.readers.domain_cases import IndexLabelCase, Tree, write_grey, write_image, write_palette


def tree(layout: str, images: str, labels: str, ending: str = "") -> Tree:
    frame = "{split}/{split}0-{number:08x}"
    return Tree(layout, f"{images}/{frame}.jpg", f"{labels}/{frame}{ending}.png", write=write_palette)  # masks of either mode occur


class TestBDD100K(IndexLabelCase):
    name = "bdd100k"
    module = BDD100KDataModule
    expected: ClassVar = {**{train: train for train in range(19)}, 19: 255, 40: 255, 255: 255}
    trees: ClassVar = [
        tree("as published", "images/10k", "labels/sem_seg/masks"),
        tree("as published", "bdd100k/images/10k", "bdd100k/labels/sem_seg/masks"),
        tree("bdd100k_seg (2018), _train_id.png", "seg/images", "seg/labels", "_train_id"),
        tree("bdd100k_seg (2018), _train_id.png", "bdd100k/seg/images", "bdd100k/seg/labels", "_train_id"),
        tree("bdd100k_seg (2018)", "bdd100k/seg/images", "bdd100k/seg/labels"),
        tree("images and labels (2018 or RobustNet), _train_id.png", "images", "labels", "_train_id"),
        tree("images and labels (2018 or RobustNet), _train_id.png", "bdd-100k/images", "bdd-100k/labels", "_train_id"),
        tree("images and labels (2018 or RobustNet)", "bdd-100k/images", "bdd-100k/labels"),
    ]
    image = "images/10k/{split}/{split}0-{number:08x}.jpg"
    label = "labels/sem_seg/masks/{split}/{split}0-{number:08x}.png"

    def test_grey_photo_becomes_rgb(self, root: Path) -> None:
        domain = self.open(root)
        Image.fromarray(np.full((8, 9), 77, np.uint8)).save(domain.samples[0].image)
        image = domain.read_image(domain.samples[0])
        assert image.shape == (8, 9, 3)
        assert (image == 77).all()

    def test_orientation_tag_turns_the_image(self, root: Path) -> None:
        domain = self.open(root)
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (9, 8)).save(domain.samples[0].image, exif=exif)
        assert domain.read_image(domain.samples[0]).shape == (9, 8, 3)

    def test_counts(self) -> None:
        assert BDD100K.official_counts == {"train": 7000, "val": 1000}
        assert len(BDD100K.classes) == 19


def test_the_stems_that_do_not_match_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # DATASETS.md, section 4: the image archive of 2020.
    without_label = ["3d581db5-2564fb7e", "52e3fd10-c205dec2", "781756b0-61e0a182", "78ac84ba-07bd30c2"]
    without_image = ["fee92217-63b3f87f", "ff1e4d6d-f4d85cfd", "ff3d3536-04986e25", "ff3da814-c3463a43"]
    both = ["00054602-3bf57337", "fffffff0-00000000"]
    for stem in without_label + both:
        write_image(tmp_path / f"images/10k/train/{stem}.jpg", 4, 4)
    for stem in without_image + both:
        write_grey(tmp_path / f"labels/sem_seg/masks/train/{stem}.png", np.zeros((4, 4), np.uint8))
    domain = BDD100K(tmp_path, "train")
    assert [sample.name for sample in domain.samples] == both
    assert all((sample.image.stem, sample.label.stem) == (sample.name, sample.name) for sample in domain.samples)
    assert domain.notes == [
        "4 images have no label and are left out: 3d581db5-2564fb7e, 52e3fd10-c205dec2, 781756b0-61e0a182 and 1 more",
        "4 labels have no image and are left out: fee92217-63b3f87f, ff1e4d6d-f4d85cfd, ff3d3536-04986e25 and 1 more",
    ]
    assert "have no label" in caplog.text
    with pytest.raises(DataError, match=r"4 of 6 images .* have no label"):
        BDD100K(tmp_path, "train", unmatched="raise")


def test_real_frames(shared: Path) -> None:
    domain = BDD100K(shared / "data/samples/bdd100k_mmseg_pseudo", "train")
    assert [sample.name for sample in domain.samples] == ["0004a4c0-d4dff0ad", "00054602-3bf57337", "00067cfb-e535423e"]
    assert all(set(domain[index]["label"].unique().tolist()) <= {2, 8} for index in range(3))


def test_the_list_of_the_2018_release(shared: Path, tmp_path: Path) -> None:
    """The list of pairs that mseg ships: its first column is read, without folders and suffixes."""
    lists = shared / "data/samples/mseg_api/mseg/dataset_lists/bdd/list"
    lines = (lists / "val.txt").read_text().split("\n")[:3]
    for line in lines:
        image, label = line.split()
        write_image(tmp_path / "bdd100k" / image, 4, 4)
        write_grey(tmp_path / "bdd100k" / label, np.zeros((4, 4), np.uint8))
    (tmp_path / "val.txt").write_text("\n".join(lines[:2]) + "\n")
    domain = BDD100K(tmp_path, "val", split_file={"val": tmp_path / "val.txt"})
    assert [sample.name for sample in domain.samples] == ["7d06fefd-f7be05a6", "7d128593-0ccfea4c"]
