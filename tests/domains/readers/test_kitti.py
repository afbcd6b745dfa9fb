"""KITTI semantics: 200 labelled frames without an official split."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from pin_memory.domains import KITTI, KITTIDataModule
from tests.domains.readers.domain_cases import IndexLabelCase, Tree, stripes, write_grey, write_image
from tests.domains.readers.test_acdc import LABEL_IDS


class TestKITTI(IndexLabelCase):
    name = "kitti"
    module = KITTIDataModule
    expected: ClassVar = LABEL_IDS
    written: ClassVar = {"": 10}
    sizes: ClassVar = {"train": 8, "val": 2, "test": 10}
    image = "training/image_2/{number:06}_10.png"
    label = "training/semantic/{number:06}_10.png"
    trees: ClassVar = [Tree("images and labels", "images/{number:06}_10.jpg", "labels/{number:06}_10.png", write_grey)]

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        write_grey(path, raw)
        write_image(path.parents[1] / "semantic_rgb" / path.name, *raw.shape)
        write_image(path.parents[2] / "testing/image_2" / path.name, *raw.shape)

    def test_the_last_by_name_are_validated_on(self, root: Path) -> None:
        assert [sample.name for sample in self.open(root, "val").samples] == ["000008_10", "000009_10"]

    def test_values_that_labels_may_hold(self, root: Path) -> None:
        assert set(self.open(root).raw_ids or ()) == set(range(34))

    def test_all_are_evaluated_on(self, root: Path) -> None:
        assert [sample.name for sample in self.open(root, "test").samples] == [f"{number:06}_10" for number in range(10)]


def test_folder_of_the_archive(tmp_path: Path) -> None:
    write_image(tmp_path / "data_semantics/training/image_2/000000_10.png", 12, 3)
    write_grey(tmp_path / "data_semantics/training/semantic/000000_10.png", stripes([26]))
    assert set(KITTI(tmp_path, "test")[0]["label"].unique().tolist()) == {13}


def test_public_lists(tmp_path: Path, shared: Path) -> None:
    for number in range(200):
        for kind in ("image_2", "semantic"):
            path = tmp_path / f"training/{kind}/{number:06}_10.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    lists = str(shared / "data/samples/mseg_api/mseg/dataset_lists/kitti-34/list/{split}.txt")
    names = {split: {sample.name for sample in KITTI(tmp_path, split, split_file=lists).samples} for split in ("train", "val", "test")}
    # The list of "test" names frames of testing/, which have no labels, and must not be taken for those of training/.
    assert {split: len(found) for split, found in names.items()} == {"train": 150, "val": 50, "test": 50}
    assert names["test"] == names["val"]
    assert not names["train"] & names["val"]
    assert {split: len(KITTI(tmp_path, split)) for split in ("train", "val", "test")} == KITTI.official_counts
