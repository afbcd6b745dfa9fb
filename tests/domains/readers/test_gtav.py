"""GTAV: palette label ids, four ways to split, frames that are known to be invalid."""

import logging
import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy.io import savemat

from pin_memory.domains import GTAV, GTAVDataModule
from pin_memory.utils.errors import ConfigurationError, DataError
from tests.domains.readers.domain_cases import IndexLabelCase, Tree, write_grey, write_image, write_palette

# DATASETS.md, section 0: label ids 0..34, and what is not listed.
IDS = [255, 255, 255, 255, 255, 255, 255, 0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255, 255, 16]
IDS += [17, 18, 255]


def split_folders(inner: str, ending: str, **more: Any) -> Tree:
    return Tree(
        f"split folders{', labelTrainIds' if ending else ''}",
        f"images/{{folder}}/{inner}{{number:05}}.png",
        f"labels/{{folder}}/{inner}{{number:05}}{ending}.png",
        folders={"val": "valid"},
        numbers={"train": range(8), "val": range(8, 10)},
        **more,
    )


def one_folder(layout: str, labels: str, ending: str, **more: Any) -> Tree:
    return Tree(layout, "images/{number:05}.png", f"{labels}/{{number:05}}{ending}.png", **more)


class TestGTAV(IndexLabelCase):
    name = "gtav"
    module = GTAVDataModule
    expected: ClassVar = dict(enumerate(IDS)) | {35: 255, 65: 255, 255: 255}
    written: ClassVar = {"": 10}
    sizes: ClassVar = {"train": 8, "val": 2, "test": 2}
    trees: ClassVar = [
        one_folder("as published", "labels", ""),
        one_folder("labels/labels", "labels/labels", ""),
        one_folder("as published, labelTrainIds", "labels", "_labelTrainIds", write=write_grey, train_ids=True),
        split_folders("robustnet/", ""),
        split_folders("", ""),
        split_folders("robustnet/", "_labelTrainIds", write=write_grey, train_ids=True),
    ]
    image = "images/{number:05}.png"
    label = "labels/{number:05}.png"

    def fields(self, split: str, number: int) -> dict[str, Any]:
        return {"number": number + 1}

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        write_palette(path, raw)

    def test_originals_are_preferred_to_converted_labels(self, root: Path) -> None:
        for number in range(1, 11):
            write_grey(root / f"labels/{number:05}_labelTrainIds.png", np.zeros((4, 4), np.uint8))
        assert [sample.label.name for sample in self.open(root).samples] == [f"{number:05}.png" for number in range(1, 9)]

    def test_validation_takes_the_last_by_name(self, root: Path) -> None:
        assert [sample.name for sample in self.open(root, "val").samples] == ["00009", "00010"]

    def test_training_on_all(self, root: Path) -> None:
        domain = GTAV(root, "train", train_on="all")
        assert len(domain) == 10
        assert "validation on GTAV sees frames that were trained on" in domain.notes[0]
        assert len(GTAV(root, "val", train_on="all")) == 2

    def test_training_on_all_folders(self, tmp_path: Path) -> None:
        folders = self.write_tree(tmp_path, split_folders("robustnet/", ""))
        assert [sample.name for sample in GTAV(folders, "train", train_on="all").samples] == [f"{n:05}" for n in range(1, 11)]
        assert [sample.name for sample in GTAV(folders, "val", train_on="all").samples] == ["00009", "00010"]

    def test_train_on_something_else(self, root: Path) -> None:
        with pytest.raises(ConfigurationError, match="none of 'split' and 'all'"):
            GTAV(root, "train", train_on="everything")  # type: ignore[arg-type]

    def test_a_training_folder_alone_is_not_split_again(self, tmp_path: Path) -> None:
        tree = split_folders("robustnet/", "")
        for number in range(8):
            write_image(tmp_path / tree.image.format(folder="train", number=number + 1), 4, 4)
            write_grey(tmp_path / tree.label.format(folder="train", number=number + 1), np.zeros((4, 4), np.uint8))
        assert len(GTAV(tmp_path, "train")) == 8
        with pytest.raises(DataError, match="there is no images/valid with its labels"):
            GTAV(tmp_path, "val")


def write_frames(root: Path, *numbers: int) -> Path:
    for number in numbers:
        write_image(root / f"images/{number:05}.png", 4, 5)
        write_palette(root / f"labels/{number:05}.png", np.full((4, 5), 7, np.uint8))
    return root


def numbers_of(domain: GTAV) -> list[int]:
    return [int(sample.name) for sample in domain.samples]


INVALID = [15188, 17705, *range(20801, 20861)]
SINGLE_COLOUR = [12160, 12166, 12167, 12191, 12192, 12193, 12195, 12202, 12203, 12204, 12205, 12206, 12207, 12208, 19993]


def test_invalid_frames_are_left_out_and_said_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    neighbours = [1, 2, 3, 4, 15187, 15189, 17704, 17706, 20800, 20861]
    write_frames(tmp_path, *neighbours, *INVALID)
    train, val = GTAV(tmp_path, "train"), GTAV(tmp_path, "val")
    assert sorted(numbers_of(train) + numbers_of(val)) == neighbours
    assert train.notes == val.notes
    assert train.notes[0].startswith("62 invalid frames are left out by number: 15188 (white), 17705 (black), 20801-20860")
    assert caplog.messages[0] == f"GTAV (Playing for Data), split train: {train.notes[0]}"


def test_nothing_is_said_without_invalid_frames(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert GTAV(write_frames(tmp_path, 1, 2, 3), "train").notes == []
    assert not caplog.messages


def test_frames_of_a_single_colour(tmp_path: Path) -> None:
    write_frames(tmp_path, 1, 2, *SINGLE_COLOUR, 12168, 12209, 19992, 24966)
    assert len(GTAV(tmp_path, "train", train_on="all")) == 21
    dropped = GTAV(tmp_path, "train", train_on="all", drop_single_colour=True)
    assert numbers_of(dropped) == [1, 2, 12168, 12209, 19992, 24966]
    assert "15 invalid frames" in dropped.notes[1]
    assert "the 15 of a single colour" in dropped.notes[1]


def write_lists(folder: Path, **numbers: list[int]) -> str:
    for split, listed in numbers.items():
        (folder / f"gtav_split_{split}.txt").write_text("".join(f"{number:05}.png\n" for number in listed))
    return f"{folder}/gtav_split_{{split}}.txt"


def test_lists_may_name_invalid_frames_there_or_not(tmp_path: Path) -> None:
    root = write_frames(tmp_path / "gtav", 1, 2, 3, 15188, 20803)
    lists = write_lists(tmp_path, train=[1, 3, 15188], val=[2, 20803, 20804, 12160])
    train, val = GTAV(root, "train", split_file=lists), GTAV(root, "val", split_file=lists)
    assert numbers_of(train) == [1, 3]
    assert numbers_of(val) == [2]
    assert train.notes[0].startswith("1 invalid frames")


def test_lists_that_name_absent_frames(tmp_path: Path) -> None:
    root = write_frames(tmp_path / "gtav", 1, 2, 3)
    lists = write_lists(tmp_path, train=[1, 4, 2154, 15188], val=[2])
    with pytest.raises(DataError, match=r"2 of the 4 names .* are not among .*: 00004, 02154"):
        GTAV(root, "train", split_file=lists)


def write_mat(path: Path, **numbers: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {f"{split}Ids": np.array(listed, np.uint16)[:, None] for split, listed in numbers.items()})


@pytest.mark.parametrize("place", ["split.mat", "read_mapping/split.mat"])
def test_the_published_split_is_found(tmp_path: Path, place: str) -> None:
    root = write_frames(tmp_path / "gtav", 1, 2, 3, 4, 5)
    write_mat(root / place, train=[5, 1], val=[2, 20803], test=[3, 4])
    train, val, test = (GTAV(root, split) for split in ("train", "val", "test"))
    assert [numbers_of(domain) for domain in (train, val, test)] == [[1, 5], [2], [2]]
    assert train.notes == [f"split by {root / place}"]
    assert (train.official_counts, val.official_counts) == ({"train": 12402, "val": 6347},) * 2
    assert numbers_of(GTAV(root, "train", train_on="all")) == [1, 2, 3, 4, 5]


def test_a_list_of_ones_own_beats_the_published_split(tmp_path: Path) -> None:
    root = write_frames(tmp_path / "gtav", 1, 2, 3)
    write_mat(root / "split.mat", train=[1], val=[2], test=[3])
    assert numbers_of(GTAV(root, "train", split_file=write_lists(tmp_path, train=[2, 3], val=[1]))) == [2, 3]


def test_the_published_split_decides_over_folders(tmp_path: Path) -> None:
    tree = split_folders("", "")
    for split, number in (("train", 1), ("train", 2), ("valid", 3)):
        write_image(tmp_path / tree.image.format(folder=split, number=number), 4, 4)
        write_grey(tmp_path / tree.label.format(folder=split, number=number), np.zeros((4, 4), np.uint8))
    write_mat(tmp_path / "split.mat", train=[1, 3], val=[2], test=[2])
    assert numbers_of(GTAV(tmp_path, "train")) == [1, 3]


def test_complete_counts(tmp_path: Path) -> None:
    root = write_frames(tmp_path / "gtav", 1, 2, 3)
    lists = write_lists(tmp_path, train=[1], val=[2])
    # 24,966 frames without 62 (and 15); their last fifth.
    assert GTAV(root, "train").official_counts == {"train": 24904 - 4980, "val": 4980}
    assert GTAV(root, "train", drop_single_colour=True).official_counts == {"train": 24889 - 4977, "val": 4977}
    assert GTAV(root, "train", train_on="all").official_counts == {"train": 24904}
    assert GTAV(root, "train", split_file=lists).official_counts == {}
    assert GTAV.official_counts == {"train": 12403, "val": 6382}


def test_two_trees_are_not_mixed(tmp_path: Path) -> None:
    """Training frames in split folders and all frames next to them: validation would see what was trained on."""
    for folder in ("", "train/"):
        for number in range(1, 11):
            write_image(tmp_path / f"images/{folder}{number:05}.png", 12, 12)
            write_palette(tmp_path / f"labels/{folder}{number:05}.png", np.zeros((12, 12), np.uint8))
    assert len(GTAV(tmp_path, "train")) == 10
    with pytest.raises(DataError, match="would come from the tree"):
        GTAV(tmp_path, "val")


@pytest.mark.parametrize("folder", ["images", "labels"])
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    """Not an empty one; by a stand-in for the system's refusal, since the tests may run as root."""
    root, scandir = write_frames(tmp_path, 1, 2, 3), os.scandir

    def refuse(path: Any = ".") -> Any:
        if Path(path) == root / folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        with pytest.raises(DataError, match=rf"{folder}: .* cannot be read \(Permission denied\)"):
            GTAV(root, "train")
