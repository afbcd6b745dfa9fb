"""A user's own data: folders or patterns, ids or colours, the 19 classes or others."""

import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from pin_memory.domains import CLASSES, PALETTE, FolderDataModule, FolderDomain, MultiSourceDataModule
from pin_memory.domains.readers.folder_options import distinct_colours
from pin_memory.utils.errors import ConfigurationError, DataError
from tests.domains.readers.domain_cases import DomainCase, IndexLabelCase, stripes, write_grey, write_image


def write_colours(path: Path, raw: np.ndarray, colours: list[tuple[int, int, int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(colours, np.uint8)[raw]).save(path)


class TestFolders(IndexLabelCase):
    """Two folders and nothing else: labels hold train ids, the last fifth is validated on."""

    name = "folder"
    module = FolderDataModule
    expected: ClassVar = {train: train for train in range(19)} | {19: 255, 200: 255, 255: 255}
    written: ClassVar = {"": 10}
    sizes: ClassVar = {"train": 8, "val": 2, "test": 2}
    options: ClassVar[dict[str, Any]] = {}
    image = "images/drive{drive}/{number:03}.jpg"
    label = "labels/drive{drive}/{number:03}.png"

    def fields(self, split: str, number: int) -> dict[str, Any]:
        return {"drive": number % 2, "number": number}

    def test_names_say_the_folders(self, root: Path) -> None:
        assert [sample.name for sample in self.open(root, "val").samples] == ["drive1_007", "drive1_009"]

    def test_colour_label_is_reported_of_the_palette(self, root: Path) -> None:
        domain = self.open(root)
        write_image(domain.samples[0].label, 4, 4)
        with pytest.raises(DataError, match="need palette"):
            domain.read_label(domain.samples[0])

    def test_an_image_twice_is_refused(self, root: Path) -> None:
        write_image(root / "images/drive0/000.png", 4, 4)
        with pytest.raises(DataError, match=r"images are ambiguous.*000.jpg, .*000.png"):
            self.open(root)

    def test_a_name_of_two_pairs_is_refused(self, root: Path) -> None:
        write_image(root / "images/drive0_000.jpg", 4, 4)
        write_grey(root / "labels/drive0_000.png", stripes([0]))
        with pytest.raises(DataError, match="drive0_000 would be the name of two"):
            self.open(root)


class TestSplitFolders(IndexLabelCase):
    """Split folders with names of their own, and raw ids."""

    name = "folder"
    module = FolderDataModule
    expected: ClassVar = {7: 0, 8: 1, 30: 13, 31: 255, 32: 255, 33: 255, 0: 255, 255: 255}
    written: ClassVar = {"train": 4, "val": 2, "test": 3}
    sizes: ClassVar = {"train": 4, "val": 2, "test": 3}
    options: ClassVar[dict[str, Any]] = {
        "images": "{split}/img",
        "labels": "{split}/seg",
        "splits": {"train": "training", "val": "validation", "test": "testing"},
        "ids": {7: "road", 8: 1, 30: "car", 31: "ignore", 32: None, 33: 255},
        "test_split": "test",
    }
    image = "{folder}/img/{number:03}.png"
    label = "{folder}/seg/{number:03}.png"

    def fields(self, split: str, number: int) -> dict[str, Any]:
        return {"folder": self.options["splits"][split], "number": number}

    def test_lists_the_splits(self, root: Path) -> None:
        """Frames of different splits may have the same name, so the general test does not hold."""
        for split, size in self.sizes.items():
            samples = self.open(root, split).samples
            assert [sample.name for sample in samples] == [f"{number:03}" for number in range(size)]
            assert {sample.image.relative_to(root).parts[0] for sample in samples} == {self.options["splits"][split]}

    def test_label_without_image_is_left_out(self, root: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.open(root).samples[0].image.unlink()
        assert [sample.name for sample in self.open(root).samples] == ["001", "002", "003"]
        assert "have no image" in caplog.text

    def test_missing_folder_is_explained(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as error:
            self.open(tmp_path / "nowhere")
        for part in ("images: {split}/img", "labels: {split}/seg", str(tmp_path / "nowhere")):
            assert part in str(error.value)

    def test_classes_are_those_of_the_ids(self, root: Path) -> None:
        assert self.open(root).classes == ("road", "sidewalk", "car")

    def test_a_target_is_evaluated_on_what_is_asked(self, root: Path) -> None:
        sizes = {split: len(FolderDomain(root, "test", **(self.options | {"test_split": split}))) for split in ("val", "test", "all")}
        assert sizes == {"val": 2, "test": 3, "all": 9}


class TestPatternsAndColours(DomainCase):
    """Patterns and labels of colours, with classes of one's own."""

    name = "folder"
    module = FolderDataModule
    colours: ClassVar = [(128, 64, 128), (0, 0, 142), (0, 0, 70), (1, 2, 3), (128, 64, 129)]
    expected: ClassVar = {0: 0, 1: 1, 2: 1, 3: 255, 4: 255}
    written: ClassVar = {"": 10}
    sizes: ClassVar = {"train": 8, "val": 2, "test": 10}
    options: ClassVar[dict[str, Any]] = {
        "images": "*/rgb/cam_*.jpg",
        "labels": "*/seg/*_mask.png",
        "palette": {"128, 64, 128": "ground", "0 0 142": "vehicle", (0, 0, 70): "vehicle", "1,2,3": "ignore"},
        "classes": ["ground", "vehicle"],
        "test_split": "all",
    }
    image = "town{town}/rgb/cam_{number}.jpg"
    label = "town{town}/seg/{number}_mask.png"

    def fields(self, split: str, number: int) -> dict[str, Any]:
        return {"town": number % 2, "number": number}

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        write_colours(path, raw, self.colours)

    def test_missing_folder_is_explained(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as error:
            self.open(tmp_path / "nowhere")
        for part in ("images: */rgb/cam_*.jpg", "labels: */seg/*_mask.png", str(tmp_path / "nowhere")):
            assert part in str(error.value)

    def test_config_makes_the_data_module(self, root: Path, tmp_path: Path) -> None:
        text = f"""
            _target_: pin_memory.domains.FolderDataModule
            root: {root}
            images: "*/rgb/cam_*.jpg"
            labels: "*/seg/*_mask.png"
            palette: {{"128, 64, 128": ground, "0, 0, 142": vehicle, "0, 0, 70": vehicle}}
            classes: [ground, vehicle]
            test_split: all
        """
        module = instantiate(OmegaConf.create(yaml.safe_load(text)))
        assert type(module) is FolderDataModule
        module.check()
        assert len(module.test_dataloader()) == 10
        assert module.label_space.names == ("ground", "vehicle")
        dataset = module.dataset("train")
        np.testing.assert_array_equal(dataset.read_label(dataset.samples[0]), stripes(list(self.expected.values())))
        assert pickle.loads(pickle.dumps(dataset)).samples == dataset.samples

    def test_classes_have_their_colours(self, root: Path) -> None:
        domain = self.open(root)
        assert domain.classes == ("ground", "vehicle")
        assert domain.label_space.palette.tolist() == [[128, 64, 128], [0, 0, 142]]
        shown = FolderDomain(root, "train", **self.options, colours={"vehicle": [9, 9, 9]})
        assert shown.label_space.palette.tolist() == [[128, 64, 128], [9, 9, 9]]

    def test_another_palette_is_another_encoding(self, root: Path) -> None:
        other = self.options | {"palette": self.options["palette"] | {"1,2,3": "ground"}}
        assert FolderDomain(root, "train", **other).layout.encoding != self.open(root).layout.encoding

    def test_palette_picture(self, root: Path) -> None:
        domain = self.open(root)
        picture = Image.fromarray(stripes([1, 0]))
        picture.putpalette([0, 0, 142, 128, 64, 128])
        assert picture.mode == "P"
        picture.save(domain.samples[0].label)
        np.testing.assert_array_equal(domain.read_label(domain.samples[0]), stripes([0, 1]))

    def test_grey_label_is_refused(self, root: Path) -> None:
        domain = self.open(root)
        write_grey(domain.samples[0].label, stripes([0]))
        with pytest.raises(DataError, match="picture mode L"):
            domain.read_label(domain.samples[0])


def files(root: Path, *names: str) -> Path:
    for name in names:
        (write_image(root / name, 12, 3) if name.endswith("jpg") else write_grey(root / name, stripes([1])))
    return root


@pytest.mark.parametrize(
    ("images", "labels", "names", "expected"),
    [
        ("*.jpg", "*.png", ["a.jpg", "a.png", "inner/b.jpg"], ["a"]),
        ("**/*.jpg", "**/*.png", ["a.jpg", "a.png", "x/y/b.jpg", "x/y/b.png"], ["a", "x_y_b"]),
        ("rgb/**", "seg/**", ["rgb/x/a.jpg", "seg/x/a.jpg"], ["x_a.jpg"]),
        ("all/*.png", "all/*_gt.png", ["all/a.png", "all/a_gt.png", "all/b.png", "all/b_gt.png"], ["a", "b"]),
        (".", "masks", ["a.jpg", "masks/a.png"], ["a"]),
        ("im(1)/*.jpg", "se+/*.png", ["im(1)/a.jpg", "se+/a.png", "see/a.png"], ["a"]),
    ],
)
def test_patterns(tmp_path: Path, images: str, labels: str, names: list[str], expected: list[str]) -> None:
    files(tmp_path, *names)
    assert [sample.name for sample in FolderDomain(tmp_path, "test", images=images, labels=labels, test_split="all").samples] == expected


def test_pairs_are_those_whose_stars_agree(tmp_path: Path) -> None:
    files(tmp_path, "a/rgb/1.jpg", "a/seg/1.png", "b/rgb/1.jpg", "b/seg/1.png")
    samples = FolderDomain(tmp_path, "test", images="*/rgb/*.jpg", labels="*/seg/*.png", test_split="all").samples
    assert [(sample.name, sample.image.parts[-3], sample.label.parts[-3]) for sample in samples] == [("a_1", "a", "a"), ("b_1", "b", "b")]


@pytest.mark.parametrize("patterns", [{}, {"images": "**/*.jpg", "labels": "**/*.png"}])
def test_links_that_lead_back_up(tmp_path: Path, patterns: dict[str, str]) -> None:
    files(tmp_path, "images/a/1.jpg", "images/b/2.jpg", "labels/a/1.png", "labels/b/2.png")
    for link, target in (("images/a/back", ".."), ("images/b/back", "../a"), ("labels/a/back", ".."), ("labels/b/back", "../a")):
        (tmp_path / link).symlink_to(target)
    if patterns:
        patterns = {kind: f"{kind}/{pattern}" for kind, pattern in patterns.items()}
    names = [sample.name for sample in FolderDomain(tmp_path, "test", test_split="all", **patterns).samples]
    assert names == ["a_1", "b_2"]  # `b/back` leads to a sibling, whose files count once


def test_labels_that_two_files_could_be(tmp_path: Path) -> None:
    files(tmp_path, "rgb/a.jpg")
    with pytest.raises(DataError, match="labels are ambiguous"):
        FolderDomain(files(tmp_path, "labels/a.png", "labels/a.bmp"), "train", images="rgb")


def test_stars_that_never_agree_are_shown(tmp_path: Path) -> None:
    files(tmp_path, "rgb/a.jpg", "seg/a_mask.png")
    with pytest.raises(DataError, match=r"none of 1 images and 1 labels .*belong together") as error:
        FolderDomain(tmp_path, "train", images="rgb", labels="seg")
    assert "'a'  of" in str(error.value)
    assert "'a_mask'  of" in str(error.value)


def test_split_lists(tmp_path: Path) -> None:
    files(
        tmp_path,
        *(
            f"{kind}/{town}/{number}.{suffix}"
            for kind, suffix in (("images", "jpg"), ("labels", "png"))
            for town in "ab"
            for number in (1, 2)
        ),
    )
    (tmp_path / "val.txt").write_text("a_2\n")
    (tmp_path / "train.txt").write_text("a_1\nb_1\n")
    options = {"split_file": str(tmp_path / "{split}.txt")}
    assert {split: [sample.name for sample in FolderDomain(tmp_path, split, **options).samples] for split in ("train", "val", "test")} == {
        "train": ["a_1", "b_1"],
        "val": ["a_2"],
        "test": ["a_2"],
    }
    assert len(FolderDomain(tmp_path, "test", test_split="all", **options)) == 4
    (tmp_path / "val.txt").write_text("images/a/2.jpg\n")
    assert [sample.name for sample in FolderDomain(tmp_path, "val", **options).samples] == ["a_2"]
    (tmp_path / "val.txt").write_text("2.jpg\n")
    with pytest.raises(DataError, match=r"such as 2: .*a/2.jpg, .*b/2.jpg.* Write the names of samples.*: a_2, b_2"):
        FolderDomain(tmp_path, "val", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ids": {7: "raod"}}, "'raod' is no class; expected one of road, sidewalk"),
        ({"ids": {256: "road"}}, "256 is no raw label id"),
        ({"ids": {"x": "road"}}, "'x' is no raw label id"),
        ({"ids": {-1: "road"}}, "-1 is no raw label id"),
        ({"ids": {True: "road"}}, "True is no raw label id.* YAML reads yes"),
        ({"ids": {7.0: "road"}}, "7.0 is no raw label id.* YAML reads yes"),
        ({"ids": {7: "road", "07": "car"}}, "the raw id 7 comes twice, once as '07'"),
        ({"ids": {7: 19}}, "19 is no class"),
        ({"ids": {7: True}}, "True is no class"),
        ({"ids": {7: "ignore"}}, "no id or colour of the labels is that of a class"),
        ({"palette": {}}, "no id or colour of the labels is that of a class"),
        ({"palette": {"1,2": "road"}}, "'1,2' is no colour"),
        ({"palette": {"1,2,256": "road"}}, "is no colour"),
        ({"palette": {"1,2,3": "raod"}}, "palette: 'raod' is no class"),
        ({"palette": {"1,2,3": "road", "1, 2, 3": "car"}}, "comes twice"),
        ({"palette": {"1,2,3": "road"}, "ids": {1: "road"}}, "not both"),
        ({"classes": ["a", "a"]}, "different names"),
        ({"classes": []}, "1..255 different names"),
        ({"classes": "road"}, "different names"),
        ({"classes": [False, "yes"]}, "quote those that YAML reads otherwise"),
        ({"classes": ["a"], "ids": {1: "road"}}, "'road' is no class; expected one of a"),
        ({"classes": ["a"], "colours": {"b": [1, 2, 3]}}, "'b' is none of the classes a"),
        ({"classes": ["a"], "colours": {"a": [1, 2]}}, "is no colour"),
        ({"classes": ["a"], "colours": {"a": 7}}, "is no colour"),
        ({"colours": {"road": [1, 2, 3]}}, "the 19 Cityscapes classes have theirs"),
        ({"test_split": "some"}, "val, test or all"),
        ({"images": "same", "labels": "same"}, "cannot be paired"),
        ({"images": "*/rgb/*.jpg", "labels": "seg/*.png"}, "as many"),
        ({"images": "{split}/rgb"}, "in both"),
        ({"images": "{splits}/rgb"}, "may stand in it"),
        ({"images": "/data/rgb"}, "below the root"),
        ({"images": "../rgb"}, "below the root"),
    ],
)
def test_mistakes(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    files(tmp_path, "images/a.jpg", "labels/a.png")
    with pytest.raises(ConfigurationError, match=message):
        FolderDomain(tmp_path, "train", **options)


def test_table_of_train_ids(tmp_path: Path) -> None:
    files(tmp_path, "images/a.jpg", "labels/a.png")
    domain = FolderDomain(tmp_path, "val", ids=[255, 0, 13])
    assert domain.table.tolist() == [255, 0, 13] + [255] * 253
    assert domain.classes == ("road", "car")
    assert domain[0]["label"].unique().tolist() == [0]


def test_own_classes_and_their_colours(tmp_path: Path) -> None:
    files(tmp_path, "images/a.jpg", "labels/a.png")
    names = ["floor", "shelf", "person"]
    module = FolderDataModule(tmp_path, classes=names, ids={1: "shelf", "9": "floor"}, colours={"floor": [1, 2, 3]})
    assert module.label_space.names == ("floor", "shelf", "person")
    assert module.label_space.palette.shape == (3, 3)
    assert module.label_space.palette[0].tolist() == [1, 2, 3]
    domain = module.dataset("val")
    assert domain.label_space.names == module.label_space.names
    # No id stands for a person, so no mean is taken over it.
    assert domain.classes == ("floor", "shelf")
    assert domain[0]["label"].unique().tolist() == [1]
    assert (domain.table[9], domain.table[2]) == (0, 255)
    with pytest.raises(ConfigurationError, match="different class lists"):
        MultiSourceDataModule({"own": module}, {"other": FolderDataModule(tmp_path)})


def test_the_19_classes_keep_their_colours(tmp_path: Path) -> None:
    for module in (FolderDataModule(tmp_path), FolderDataModule(tmp_path, classes=list(CLASSES))):
        np.testing.assert_array_equal(module.label_space.palette, PALETTE)


def test_generated_colours_are_distinct() -> None:
    assert len(set(distinct_colours(255))) == 255
    assert distinct_colours(5) == distinct_colours(255)[:5]
    few = np.array(distinct_colours(19), int)
    distances = np.abs(few[:, None] - few).sum(-1) + 999 * np.eye(19, dtype=int)
    assert distances.min() > 100


def test_what_is_not_listed_is_none_of_the_raw_ids(tmp_path: Path) -> None:
    """Listed ids and colours are declared, also those that are listed as ignored; an unlisted colour reads as 255, which is not."""
    write_image(tmp_path / "images" / "a.png", 12, 12)
    write_image(tmp_path / "images" / "b.png", 12, 12)
    for name in ("a", "b"):
        label = np.zeros((12, 12, 3), np.uint8)
        label[:4], label[4:8] = (0, 255, 0), (1, 2, 3)
        (tmp_path / "labels").mkdir(exist_ok=True)
        Image.fromarray(label).save(tmp_path / "labels" / f"{name}.png")
    palette = {"0, 255, 0": "road", "0, 0, 0": "ignore"}
    domain = FolderDomain(tmp_path, "train", palette=palette)
    assert domain.raw_ids == {0, 254}
    assert np.unique(domain.read_raw_label(domain.samples[0].label)).tolist() == [0, 254, 255]
    assert np.unique(domain.read_label(domain.samples[0])).tolist() == [0, 255]
    assert FolderDomain(tmp_path, "train", ids={3: "road", 9: "ignore"}).raw_ids == {3, 9, 255}
    assert FolderDomain(tmp_path, "train", classes=["field", "track"]).raw_ids == {0, 1, 255}
