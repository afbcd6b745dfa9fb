"""One test case for all data sets: a subclass says how the data set lays out and encodes its files."""

import os
import pickle
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from pin_memory.domains import Domain, DomainDataModule, Loading
from pin_memory.utils.errors import ConfigurationError, DataError

CONF = Path(__file__).parents[3] / "conf"
HEIGHT, STRIPE = 12, 3


def stripes(ids: list[int]) -> np.ndarray:
    """A label map of upright stripes, one for each id, (12, 3 * len(ids)) uint8."""
    return np.tile(np.repeat(np.array(ids, np.uint8), STRIPE), (HEIGHT, 1))


def write_image(path: Path, height: int, width: int, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)).save(path)


def write_palette(path: Path, raw: np.ndarray) -> None:
    """A palette PNG: read as colours, its values would be others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(raw).convert("P")
    image.putpalette(np.random.default_rng(1).integers(0, 256, 768, np.uint8).tobytes())
    image.putdata(raw.ravel().tolist())
    image.save(path)


def write_grey(path: Path, raw: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(raw).save(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below `folder` with its length and time."""
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


class ReversedScan:
    """What `os.scandir` returns, the other way round."""

    def __init__(self, entries: Iterable[Any]) -> None:
        self.entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return next(self.entries)


def reverse_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the operating system list folders from the last name to the first."""
    scandir, listdir = os.scandir, os.listdir
    monkeypatch.setattr(os, "scandir", lambda path=".": ReversedScan(scandir(path)))
    monkeypatch.setattr(os, "listdir", lambda path=".": sorted(listdir(path), reverse=True))


@cache
def _composed(name: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["+augmentation=published", "+loading=default", f"+domain={name}", "+seed=5", "+paths.data=x", "loading.num_workers=0"]
        return compose(overrides=overrides)


def compose_domain(name: str, data: Path) -> DictConfig:
    """The configuration of a data set below `data`, as an experiment composes it."""
    config = _composed(name).copy()
    config.paths.data = str(data)
    return config


@dataclass(frozen=True)
class Tree:
    """Another folder tree of a data set, which has to be recognised and to give the same samples.

    Attributes:
        layout: The name that it is reported by.
        image: Path of an image below the root, with the case's `fields` in braces, and {folder}, the folder of the split.
        label: Path of a label, likewise.
        write: Writes a label of raw ids; None for the case's own `write_label`.
        train_ids: Whether its labels hold train ids.
        folders: Names of the split folders.
        numbers: Numbers of the frames in each split; None for those of the case.
        options: Of the reader.
    """

    layout: str
    image: str
    label: str
    write: Callable[[Path, np.ndarray], None] | None = None
    train_ids: bool = False
    folders: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, range] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class DomainCase:
    """What every reader has to do. Splits without an official list are written in one go as the split "".

    A subclass says where files lie (`image` and `label`: paths below the root, with the `fields` of a frame in braces) and, unless they are
    grey pictures of raw ids, how labels are written; in `trees`, it lists what else has to be recognised.
    """

    name: ClassVar[str]
    module: ClassVar[type[DomainDataModule]]
    image: ClassVar[str]
    label: ClassVar[str]
    expected: ClassVar[dict[int, int]]  # raw id: train id, with some that no class has
    written: ClassVar[dict[str, int]] = {"train": 4, "val": 2}
    sizes: ClassVar[dict[str, int]] = {"train": 4, "val": 2, "test": 2}
    options: ClassVar[dict[str, Any]] = {}
    trees: ClassVar[list[Tree]] = []

    @property
    def reader(self) -> type[Domain]:
        return self.module.reader

    def fields(self, split: str, number: int) -> dict[str, Any]:
        return {"split": split, "number": number}

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        write_grey(path, raw)

    def write_pair(self, root: Path, split: str, number: int, raw: np.ndarray) -> None:
        fields = self.fields(split, number)
        write_image(root / self.image.format(**fields), *raw.shape, seed=number)
        self.write_label(root / self.label.format(**fields), raw)

    @pytest.fixture(scope="class")
    @classmethod
    def clean(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """The data set, written once for the tests that change nothing."""
        root = tmp_path_factory.mktemp("data") / cls.name
        for split, count in cls.written.items():
            for number in range(count):
                cls().write_pair(root, split, number, stripes(list(cls.expected)))
        return root

    @pytest.fixture
    def root(self, clean: Path, tmp_path: Path) -> Path:
        """A copy to spoil."""
        return Path(shutil.copytree(clean, tmp_path / "data" / self.name))

    def open(self, root: Path, split: str = "train") -> Domain:
        return self.reader(root, split, **self.options)

    def write_tree(self, root: Path, tree: Tree) -> Path:
        raw = stripes(list(self.expected.values() if tree.train_ids else self.expected))
        for split, numbers in (tree.numbers or {split: range(count) for split, count in self.written.items()}).items():
            for number in numbers:
                fields = {"folder": tree.folders.get(split, split)} | self.fields(split, number)
                write_image(root / tree.image.format(**fields), *raw.shape, seed=number)
                (tree.write or self.write_label)(root / tree.label.format(**fields), raw)
        return root

    def test_other_trees_hold_the_same(self, clean: Path, tmp_path: Path) -> None:
        names = {split: [sample.name for sample in self.open(clean, split).samples] for split in self.sizes}
        for place, tree in enumerate(self.trees):
            other = self.write_tree(tmp_path / f"tree{place}", tree)
            for split in self.sizes:
                domain = self.reader(other, split, **(self.options | dict(tree.options)))
                assert domain.layout.name == tree.layout
                assert [sample.name for sample in domain.samples] == names[split], tree.layout
                found = domain.read_label(domain.samples[0])
                np.testing.assert_array_equal(found, stripes(list(self.expected.values())), err_msg=tree.layout)

    def test_order_does_not_depend_on_the_file_system(self, clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = {split: self.open(clean, split).samples for split in self.sizes}
        reverse_folders(monkeypatch)
        assert {split: self.open(clean, split).samples for split in self.sizes} == first

    def test_nothing_is_written_below_the_root(self, clean: Path) -> None:
        before = state_of(clean)
        for split in self.sizes:
            domain = self.open(clean, split)
            for index in range(len(domain)):
                domain[index]
        assert state_of(clean) == before

    def test_can_be_pickled(self, clean: Path) -> None:
        domain = self.open(clean)
        copy = pickle.loads(pickle.dumps(domain))
        assert copy.samples == domain.samples
        assert torch.equal(copy[0]["image"], domain[0]["image"])
        assert torch.equal(copy[0]["label"], domain[0]["label"])

    def test_loading_processes_change_nothing(self, clean: Path) -> None:
        alone, together = (
            list(self.module(clean, loading=Loading(num_workers=workers), **self.options).test_dataloader()) for workers in (0, 1)
        )
        assert len(alone) == len(together) == self.sizes["test"]
        for one, other in zip(alone, together, strict=True):
            assert one["name"] == other["name"]
            assert torch.equal(one["image"], other["image"])
            assert torch.equal(one["label"], other["label"])

    @pytest.mark.parametrize("removed", ["files", "folders"])
    def test_missing_split_is_reported(self, root: Path, removed: str) -> None:
        absent = "val" if "val" in self.sizes else "test"
        gone, others = self.open(root, absent).samples, [s for split in self.sizes for s in self.open(root, split).samples]
        shares_folders = {s.image.parent for s in gone} & {s.image.parent for s in others if s not in gone}
        if shares_folders:
            # What cannot be split is one frame.
            gone, absent = sorted(set(others), key=lambda sample: sample.name)[1:], "train"
        for path in {path for sample in gone for path in (sample.image, sample.label)}:
            if removed == "folders" and not shares_folders:
                shutil.rmtree(path.parent, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        with pytest.raises(DataError) as error:
            self.open(root, absent)
        for part in (absent, self.reader.title, str(root)):
            assert part in str(error.value)

    def test_lists_the_splits(self, clean: Path) -> None:
        splits = {split: [sample.name for sample in self.open(clean, split).samples] for split in self.sizes}
        assert {split: len(names) for split, names in splits.items()} == self.sizes
        for names in splits.values():
            assert names == sorted(set(names))
            assert not any("/" in name or "." in name for name in names)
        assert not set(splits["train"]) & set(splits["val"])

    def test_leaves_other_files_out(self, root: Path) -> None:
        first = self.open(root).samples[0]
        first.image.with_name("._" + first.image.name).write_bytes(b"Mac OS")
        first.image.with_name("Thumbs.db").write_bytes(b"Windows")
        assert len(self.open(root)) == self.sizes["train"]

    def test_labels_go_through_the_table(self, clean: Path) -> None:
        domain = self.open(clean)
        label = domain.read_label(domain.samples[0])
        assert label.dtype == np.uint8
        np.testing.assert_array_equal(label, stripes(list(self.expected.values())))

    def test_table_ignores_whatever_it_does_not_list(self) -> None:
        table = self.reader.table
        assert table.shape == (256,)
        assert table.dtype == np.uint8
        assert set(table.tolist()) <= {*range(len(self.reader.label_space)), 255}
        assert (table[91:] == 255).all()

    def test_every_class_is_among_the_declared_ids(self, clean: Path) -> None:
        domain = self.open(clean)
        raw = np.unique(domain.read_raw_label(domain.samples[0].label))
        classes = {int(value) for value in raw if domain.table[value] != 255}
        assert len(classes) > 1
        assert classes <= set(domain.raw_ids or range(256))

    def test_item(self, clean: Path) -> None:
        domain = self.open(clean)
        item = domain[0]
        assert item["image"].dtype == torch.uint8
        assert item["label"].dtype == torch.int64
        assert item["image"].shape == (3, *item["label"].shape) == (3, HEIGHT, STRIPE * len(self.expected))
        assert item["name"] == domain.samples[0].name
        rgb = np.asarray(Image.open(domain.samples[0].image).convert("RGB"))
        # A JPEG decoder may round differently.
        assert np.abs(item["image"].permute(1, 2, 0).numpy().astype(int) - rgb).max() < 3

    def test_missing_folder_is_explained(self, tmp_path: Path) -> None:
        missing = tmp_path / "nowhere"
        with pytest.raises(DataError) as error:
            self.open(missing)
        message = str(error.value)
        for part in (str(missing), self.reader.title, self.reader.download, "python -m pin_memory.train experiment=demo"):
            assert part in message
        for line in self.reader.tree.strip().splitlines():
            assert line.strip() in message

    def test_empty_folder_is_explained(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="is empty"):
            self.open(tmp_path)

    def test_folders_without_images_are_explained(self, root: Path) -> None:
        for file in [path for path in root.rglob("*") if path.is_file()]:
            file.unlink()
        with pytest.raises(DataError, match="no image for the split 'train'"):
            self.open(root)

    def test_image_without_label(self, root: Path) -> None:
        sample = self.open(root).samples[1]
        sample.label.unlink()
        if self.reader.unmatched == "report":
            domain = self.open(root)
            assert sample.name not in [other.name for other in domain.samples]
            assert any("1 images have no label" in note for note in domain.notes)
            return
        with pytest.raises(DataError, match=r"1 of \d+ images .* have no label") as error:
            self.open(root)
        assert str(sample.image) in str(error.value)

    def test_label_without_image_is_left_out(self, root: Path, caplog: pytest.LogCaptureFixture) -> None:
        train = self.open(root).samples
        train[0].image.unlink()
        names = {sample.name for split in ("train", "val") for sample in self.open(root, split).samples}
        assert train[0].name not in names
        assert "have no image" in caplog.text

    def test_sizes_that_differ(self, root: Path) -> None:
        domain = self.open(root)
        sample = domain.samples[0]
        self.write_label(sample.label, stripes([0, 0]))
        with pytest.raises(DataError, match="differ in size") as error:
            domain[0]
        for part in (str(sample.image), str(sample.label), f"{STRIPE * len(self.expected)}x{HEIGHT}", f"{STRIPE * 2}x{HEIGHT}"):
            assert part in str(error.value)

    def test_damaged_file_is_named(self, root: Path) -> None:
        domain = self.open(root)
        for path in (domain.samples[0].image, domain.samples[0].label):
            content = path.read_bytes()
            for damage in (cut, lambda file: file.write_bytes(b""), Path.unlink):
                damage(path)
                with pytest.raises(DataError) as error:
                    domain[0]
                assert str(path) in str(error.value)
                path.write_bytes(content)

    def test_unknown_split(self, clean: Path) -> None:
        with pytest.raises(ConfigurationError, match="train, val, test"):
            self.open(clean, "valid")

    def test_config_makes_the_data_module(self, clean: Path, tmp_path: Path) -> None:
        config = compose_domain(self.name, clean.parent)
        config.augmentation.crop_size = 16
        OmegaConf.resolve(config)
        module = instantiate(config.domain, **self.options)
        assert type(module) is self.module
        assert module.root == clean
        assert module.loading == Loading(num_workers=0, seed=5)
        module.check()
        batch = next(iter(module.train_dataloader()))
        assert batch["image"].shape == (4, 3, 16, 16)
        assert batch["label"].shape == (4, 16, 16)
        assert len(module.test_dataloader()) == self.sizes["test"]


class IndexLabelCase(DomainCase):
    """Data sets whose labels are 8-bit indices."""

    def test_colour_label_is_refused(self, root: Path) -> None:
        domain = self.open(root)
        write_image(domain.samples[0].label, HEIGHT, STRIPE * len(self.expected))
        with pytest.raises(DataError, match="mode RGB") as error:
            domain[0]
        assert str(domain.samples[0].label) in str(error.value)

    def test_unlisted_ids_are_ignored(self, root: Path) -> None:
        domain = self.open(root)
        self.write_label(domain.samples[0].label, stripes([200, 254, 255]))
        assert (domain.read_label(domain.samples[0]) == 255).all()

    def test_deeper_label_is_refused(self, root: Path) -> None:
        domain = self.open(root)
        Image.fromarray(np.full((HEIGHT, STRIPE), 26_001, np.uint16)).save(domain.samples[0].label)
        with pytest.raises(
            DataError, match=r"expected a label map of ids of 0\.\.255, found values up to 26001\. Perhaps it is an instance map"
        ):
            domain.read_label(domain.samples[0])
