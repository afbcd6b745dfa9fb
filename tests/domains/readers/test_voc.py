"""PASCAL VOC 2012 and SBD: lists as splits, palette PNGs with borders, and SBD's .mat files."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from scipy.io import savemat

from pin_memory.domains import VOC, VOCDataModule
from pin_memory.domains.checks.domain import Depth, Request, check_domain
from pin_memory.domains.checks.files import verify
from pin_memory.utils.errors import ConfigurationError, DataError
from tests.domains.readers.domain_cases import IndexLabelCase, Tree, stripes, write_grey, write_image, write_palette

INNER = "VOCdevkit/VOC2012"


def write_lists(inner: Path, written: dict[str, int]) -> None:
    for split, count in written.items():
        path = inner / f"ImageSets/Segmentation/{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name(split, number)}\n" for number in range(count)))


def name(split: str, number: int) -> str:
    return f"2007_{number + (500 if split == 'val' else 0):06}"


def write_mat(path: Path, raw: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"GTcls": {"Segmentation": raw, "Boundaries": 0, "CategoriesPresent": np.unique(raw)}})


class TestVOC(IndexLabelCase):
    name = "voc"
    module = VOCDataModule
    expected: ClassVar = {raw: raw for raw in (*range(21), 255)}
    options: ClassVar = {"train_on": "voc"}
    image = f"{INNER}/JPEGImages/{{name}}.jpg"
    label = f"{INNER}/SegmentationClass/{{name}}.png"
    trees: ClassVar = [
        Tree("SegmentationClassAug", "JPEGImages/{name}.jpg", "SegmentationClassAug/{name}.png", write_grey, options={"train_on": "aug"}),
        Tree("as published", "VOC2012/JPEGImages/{name}.jpg", "VOC2012/SegmentationClass/{name}.png"),
    ]

    def fields(self, split: str, number: int) -> dict[str, str]:
        return {"name": name(split, number)}

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        write_palette(path, raw)

    def write_pair(self, root: Path, split: str, number: int, raw: np.ndarray) -> None:
        super().write_pair(root, split, number, raw)
        write_lists(root / INNER, self.written)
        write_image(root / f"{INNER}/JPEGImages/2008_{number:06}.jpg", *raw.shape)  # a photograph without a label

    def write_tree(self, root: Path, tree: Tree) -> Path:
        super().write_tree(root, tree)
        write_lists((root / tree.image).parents[1], self.written)
        return root

    def test_check_finds_nothing_wrong(self, clean: Path) -> None:
        """But that there are fewer and smaller ones than published; the label's file of all images is not opened for each."""
        report, opened = check_domain(
            Request(VOCDataModule(clean, train_on="voc"), ["voc"], ["train", "val"], needed=True), Depth(workers=0)
        )
        assert {finding.kind for finding in report.findings} == {"fewer", "small_images"}
        assert [split.pairs for split in report.splits] == [4, 2]
        assert len(opened) == 2

    def test_missing_list_is_explained(self, root: Path) -> None:
        (root / INNER / "ImageSets/Segmentation/val.txt").unlink()
        with pytest.raises(DataError, match=r"there is no list .*val\.txt"):
            self.open(root)

    def test_label_without_image_is_left_out(self, root: Path, caplog: pytest.LogCaptureFixture) -> None:
        """With a note, and then the list that names it is refused."""
        self.open(root).samples[0].image.unlink()
        with pytest.raises(DataError, match=r"1 of the 4 names .* are not among the"):
            self.open(root)
        assert "have no image" in caplog.text


@pytest.fixture
def augmented(tmp_path: Path) -> Path:
    """VOC with 2 training and 2 validation frames, and SBD's archive with 4 frames: one of each list and two more."""
    case = TestVOC()
    case.written = {"train": 2, "val": 2}  # type: ignore[misc]
    for split in case.written:
        for number in range(2):
            case.write_pair(tmp_path, split, number, stripes([0, 1, 255]))
    for own in (name("train", 0), name("val", 0), "2008_000000", "2008_000001"):
        write_mat(tmp_path / f"benchmark_RELEASE/dataset/cls/{own}.mat", stripes([0, 2, 20]))
    return tmp_path


def test_training_takes_all_labels_of_both_but_the_validated(augmented: Path) -> None:
    domain = VOC(augmented, "train")
    assert domain.layout.name == "as published, with SBD"
    assert [sample.name for sample in domain.samples] == ["2007_000000", "2007_000001", "2008_000000", "2008_000001"]
    labels = [np.unique(domain.read_label(sample)).tolist() for sample in domain.samples]
    assert labels == [[0, 1, 255], [0, 1, 255], [0, 2, 20], [0, 2, 20]]  # where both have a label, VOC's
    assert [sample.name for sample in VOC(augmented, "val").samples] == ["2007_000500", "2007_000501"]


def test_lists_of_ones_own_may_name_any_labelled_frame(augmented: Path) -> None:
    (augmented / "mine_train.txt").write_text("2007_000500\n2008_000001\n")
    domain = VOC(augmented, "train", split_file=augmented / "mine_{split}.txt")
    assert [sample.name for sample in domain.samples] == ["2007_000500", "2008_000001"]


def test_without_sbd(augmented: Path) -> None:
    (augmented / "benchmark_RELEASE").rename(augmented / "elsewhere")
    with pytest.raises(DataError, match=r"needs SBD's labels, .* train_on=voc trains on"):
        VOC(augmented, "train")
    with pytest.raises(ConfigurationError, match="none of 'aug' and 'voc'"):
        VOC(augmented, "train", train_on="sbd")  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_damaged_mat_file(augmented: Path, damage: str) -> None:
    domain = VOC(augmented, "train")
    path = domain.samples[2].label
    assert verify(path) == (None, [])
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        savemat(path, {"GTcls": {"Segmentation": np.ones((4, 4))}})
    with pytest.raises(DataError, match="expected") as error:
        domain[2]
    assert str(path) in str(error.value)


def test_colours_are_those_of_the_archive() -> None:
    """Of the devkit's colour map: background, aeroplane, bicycle, bottle, potted plant, monitor."""
    shown = VOC.label_space.palette[[0, 1, 2, 5, 16, 20]].tolist()
    assert shown == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 0, 128], [0, 64, 0], [0, 64, 128]]
