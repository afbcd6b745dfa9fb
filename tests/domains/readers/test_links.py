"""One real file is one sample, in one split, whatever links and hard links give it further names; links to other trees are followed."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pin_memory.domains import BDD100KDataModule, Cityscapes, FolderDataModule, FolderDomain, MultiSourceDataModule
from pin_memory.utils.errors import ConfigurationError, DataError
from tests.domains.readers.domain_cases import stripes, write_grey, write_image

pytestmark = pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")

NAMES = ["a_1", "a_3", "b_2", "b_4"]


def pair(root: Path, name: str, seed: int, images: str = "images", labels: str = "labels") -> None:
    write_image(root / images / f"{name}.png", 12, 9, seed)
    write_grey(root / labels / f"{name}.png", stripes([seed % 5, 6, 7]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four pairs in two folders."""
    for number in range(1, 5):
        pair(tmp_path / "data", f"{'ba'[number % 2]}/{number}", number)
    return tmp_path / "data"


def link(root: Path, name: str, target: str) -> None:
    """The link in both trees."""
    for kind in ("images", "labels"):
        (root / kind / name).parent.mkdir(parents=True, exist_ok=True)
        (root / kind / name).symlink_to(target)


def hard_link(root: Path) -> None:
    for kind in ("images", "labels"):
        os.link(root / kind / "a" / "1.png", root / kind / "b" / "9.png")


def chain(root: Path) -> None:
    for name, target in (("c", "d"), ("d", "e"), ("e", "a")):
        link(root, name, target)


def crossed(root: Path) -> None:
    """Ten folders, each with links to all: as many ways through them as orders of ten."""
    for place in range(10):
        for other in range(10):
            link(root, f"m{place}/{other}", f"../m{other}")


def other_tree_twice(root: Path) -> None:
    """Both folders lie elsewhere, and one of them has two links."""
    for kind in ("images", "labels"):
        for name in "ab":
            (root / kind / name).rename(root.parent / f"{kind}_{name}")
            (root / kind / name).symlink_to(root.parent / f"{kind}_{name}")
        (root / kind / "z").symlink_to(root.parent / f"{kind}_a")


MEMBERS: Mapping[str, Callable[[Path], object]] = {
    "up": lambda root: link(root, "a/back", ".."),
    "up two": lambda root: link(root, "a/back", "../.."),
    "up, images alone": lambda root: (root / "images/a/back").symlink_to(".."),
    "to the folder itself": lambda root: link(root, "a/self", "."),
    "to a sibling": lambda root: link(root, "b/more", "../a"),
    "to a sibling, images alone": lambda root: (root / "images/b/more").symlink_to("../a"),
    "before the folder by name": lambda root: link(root, "Z", "a"),
    "to each other": lambda root: (link(root, "a/b", "../b"), link(root, "b/a", "../a")),
    "two to one folder": lambda root: (link(root, "c", "a"), link(root, "d", "a")),
    "a chain": chain,
    "a loop": lambda root: (link(root, "x", "y"), link(root, "y", "x")),
    "crossed": crossed,
    "a file": lambda root: link(root, "a/9.png", "1.png"),
    "a file of another folder": lambda root: link(root, "b/1.png", "../a/1.png"),
    "a hard link": hard_link,
    "a file under another suffix": lambda root: (root / "images/a/1.bmp").symlink_to("1.png"),
    "from labels to images": lambda root: (root / "labels/x").symlink_to("../images"),
    "from images to labels": lambda root: (root / "images/x").symlink_to("../labels"),
    "dangling folder": lambda root: link(root, "gone", "nowhere"),
    "another tree, two links": other_tree_twice,
}


@pytest.mark.parametrize("options", [{}, {"images": "images/**/*.png", "labels": "labels/**/*.png"}], ids=["folders", "patterns"])
@pytest.mark.parametrize("member", MEMBERS)
def test_every_file_is_one_sample_in_one_split(root: Path, member: str, options: dict[str, Any]) -> None:
    MEMBERS[member](root)
    splits = {split: FolderDataModule(root, **options).dataset(split).samples for split in ("train", "val")}
    assert sorted(sample.name for samples in splits.values() for sample in samples) == NAMES
    assert len({sample.image.resolve() for samples in splits.values() for sample in samples}) == len(NAMES)
    assert len(splits["val"]) == 1
    assert FolderDataModule(root, **options).check(("train", "val"))


def test_a_link_gives_the_name_that_the_labels_have(root: Path) -> None:
    """It was made for that: of two names, the one with a label counts."""
    shutil.move(root / "images" / "a", root / "images" / "front")
    (root / "images" / "a").symlink_to("front")
    domain = FolderDomain(root, "test", test_split="all")
    assert [sample.name for sample in domain.samples] == NAMES
    assert domain.notes == []


def test_links_to_other_trees_are_followed(root: Path, tmp_path: Path) -> None:
    pair(tmp_path / "far", "5", 5)
    for kind in ("images", "labels"):
        (root / kind / "more").symlink_to(tmp_path / "far" / kind)
        (root / kind / "a" / "6.png").symlink_to(tmp_path / "far" / kind / "6.png")
    pair(tmp_path / "far", "6", 6)
    domain = FolderDomain(root, "test", test_split="all")
    assert [sample.name for sample in domain.samples] == ["a_1", "a_3", "a_6", "b_2", "b_4", "more_5"]
    assert any("1 images are links" in note for note in domain.notes)  # a_6 is more_6 as well


def test_one_label_may_serve_several_images(root: Path) -> None:
    for name in ("a/3", "b/2"):
        (root / "labels" / f"{name}.png").unlink()
        (root / "labels" / f"{name}.png").symlink_to(root / "labels" / "a" / "1.png")
    assert [sample.name for sample in FolderDomain(root, "test", test_split="all").samples] == NAMES


def test_a_root_that_is_a_link(root: Path, tmp_path: Path) -> None:
    link(root, "c", "a")
    (tmp_path / "root").symlink_to(root)
    assert [sample.name for sample in FolderDomain(tmp_path / "root", "test", test_split="all").samples] == NAMES


def test_an_image_is_not_its_own_label(root: Path) -> None:
    shutil.rmtree(root / "labels")
    (root / "labels").symlink_to("images")
    with pytest.raises(DataError, match=r"a/1.png and its label .*labels/a/1.png are one file"):
        FolderDomain(root, "train")


def test_a_list_may_use_any_name(root: Path, tmp_path: Path) -> None:
    link(root, "a/9.png", "1.png")
    link(root, "b/back", "..")
    options = {"split_file": {"train": str(tmp_path / "train.txt"), "val": str(tmp_path / "val.txt")}}
    (tmp_path / "train.txt").write_text("9\n2\n1\n")
    (tmp_path / "val.txt").write_text("4\n")
    module = FolderDataModule(root, **options)
    assert {sample.image.resolve().name for sample in module.dataset("train").samples} == {"1.png", "2.png"}
    assert len(module.dataset("train")) == 2
    assert len(module.check(("train", "val"))) == 3


class TestSplitFolders:
    """Links that put images of one split into another."""

    OPTIONS: Mapping[str, str] = {"images": "{split}/images", "labels": "{split}/labels"}

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        for number, split in enumerate(["train", "train", "val"]):
            pair(tmp_path / "data" / split, str(number), number)
        return tmp_path / "data"

    @pytest.mark.parametrize("member", ["folder", "link", "hard link"])
    def test_shared_images_are_refused(self, root: Path, member: str) -> None:
        for kind in ("images", "labels"):
            source, place = root / "train" / kind, root / "val" / kind
            if member == "folder":
                (place / "more").symlink_to(source)
            elif member == "link":
                (place / "9.png").symlink_to(source / "0.png")
            else:
                os.link(source / "0.png", place / "9.png")
        module = FolderDataModule(root, **self.OPTIONS)
        with pytest.raises(DataError, match=r"images of the split 'val' are also in 'train'.*val/images/.*, which is .*train/images/0.png"):
            module.check(("train", "val"))
        module.check(("train",))

    def test_separate_ones_are_not(self, root: Path) -> None:
        FolderDataModule(root, **self.OPTIONS).check(("train", "val"))

    def test_lists_that_say_so_are_reported(self, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "train.txt").write_text("0\n1\n")
        (tmp_path / "val.txt").write_text("1\n")
        options = {"images": "train/images", "labels": "train/labels", "split_file": str(tmp_path / "{split}.txt")}
        FolderDataModule(root, **options).check(("train", "val"))
        assert "1 images of the split 'val' are also in 'train'" in caplog.text


@pytest.mark.parametrize("member", ["root", "folder", "file", "hard link"])
def test_a_target_that_is_a_source_by_links_is_refused(root: Path, tmp_path: Path, member: str) -> None:
    target = tmp_path / "target"
    for number in (7, 8):
        pair(target, str(number), number)
    if member == "root":
        shutil.rmtree(target)
        target.mkdir()
    for kind in ("images", "labels"):
        if member in ("root", "folder"):
            (target / kind / ("more" if member == "folder" else "")).symlink_to(root / kind)
        elif member == "file":
            (target / kind / "9.png").symlink_to(root / kind / "a" / "1.png")
        else:
            os.link(root / kind / "a" / "1.png", target / kind / "9.png")
    data = MultiSourceDataModule({"own": FolderDataModule(root)}, {"other": FolderDataModule(target, test_split="all")})
    with pytest.raises(ConfigurationError, match=r"of the target 'other' are also among those of the source 'own', such as .*, which is"):
        data.check()


@pytest.mark.parametrize("member", ["folder", "file", "hard link"])
def test_sources_that_validate_on_what_others_train_on_are_reported(
    root: Path, tmp_path: Path, member: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other"
    pair(other, "a", 7)
    for kind in ("images", "labels"):
        if member == "folder":
            (other / kind / "z").symlink_to(root / kind / "a")
        elif member == "file":
            (other / kind / "z.png").symlink_to(root / kind / "a" / "1.png")
        else:
            os.link(root / kind / "a" / "1.png", other / kind / "z.png")
    data = MultiSourceDataModule({"own": FolderDataModule(root), "again": FolderDataModule(root), "other": FolderDataModule(other)})
    data.check()
    lines = [record.getMessage() for record in caplog.records if "trains on" in record.getMessage()]
    sentence = f"1 images of the split 'val' are also among those that the source {{}} trains on, such as {other}/images/z"
    assert [line.split(sentence.format(name))[0] for line, name in zip(lines, ("own", "again"), strict=True)] == ["other: ", "other: "]


def test_published_data_sets_follow_the_same_rule(tmp_path: Path) -> None:
    for number in range(3):
        name = f"{{split}}/town/town_000000_{number:06}"
        for split in ("train", "val"):
            place = name.format(split=split)
            write_image(tmp_path / f"leftImg8bit/{place}_leftImg8bit.png", 12, 9, number)
            write_grey(tmp_path / f"gtFine/{place}_gtFine_labelIds.png", stripes([7, 8, 11]))
    for kind in ("leftImg8bit", "gtFine"):
        (tmp_path / kind / "train" / "again").symlink_to("town")
        (tmp_path / kind / "train" / "town" / "back").symlink_to("../..")
    assert [sample.name for sample in Cityscapes(tmp_path, "train").samples] == [f"town_000000_{number:06}" for number in range(3)]


def test_lists_over_linked_split_folders(tmp_path: Path) -> None:
    """A name of two folders means one file, so it is clear what the lists mean."""
    for number in range(4):
        write_image(tmp_path / f"images/10k/train/{number}.jpg", 12, 9, number)
        write_grey(tmp_path / f"labels/sem_seg/masks/train/{number}.png", stripes([0, 1, 2]))
    for folder in ("images/10k", "labels/sem_seg/masks"):
        (tmp_path / folder / "val").symlink_to("train")
    (tmp_path / "train.txt").write_text("0\n1\n2\n")
    (tmp_path / "val.txt").write_text("3\n")
    module = BDD100KDataModule(tmp_path, split_file=str(tmp_path / "{split}.txt"))
    assert [len(module.dataset(split)) for split in ("train", "val")] == [3, 1]
    assert len(module.check(("train", "val"))) == 4


def test_published_data_sets_with_linked_splits(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / f"images/10k/train/{number}.jpg", 12, 9, number)
        write_grey(tmp_path / f"labels/sem_seg/masks/train/{number}.png", stripes([0, 1, 2]))
    for folder in ("images/10k", "labels/sem_seg/masks"):
        (tmp_path / folder / "val").symlink_to("train")
    with pytest.raises(DataError, match="3 images of the split 'val' are also in 'train'"):
        BDD100KDataModule(tmp_path).check(("train", "val"))
