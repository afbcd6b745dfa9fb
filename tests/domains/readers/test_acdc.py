"""ACDC: four conditions, together and one by one."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hydra.utils import instantiate

from pin_memory.domains import ACDC, ACDCDataModule
from pin_memory.utils.errors import ConfigurationError, DataError
from tests.domains.readers.domain_cases import IndexLabelCase, compose_domain, stripes, write_grey, write_image

CONDITIONS = ("fog", "night", "rain", "snow")
# DATASETS.md, section 1: labelIds 0..33 and what lies beyond.
LABEL_IDS = dict.fromkeys(range(256), 255) | {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12}
LABEL_IDS |= {26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}


class TestACDC(IndexLabelCase):
    """All conditions as one domain: the pairs of a split are spread over the four."""

    name = "acdc"
    module = ACDCDataModule
    expected: ClassVar = {train: train for train in range(19)} | {19: 255, 33: 255, 255: 255}
    written: ClassVar = {"train": 8, "val": 4}
    sizes: ClassVar = {"train": 8, "val": 4, "test": 4}
    image = "rgb_anon/{stem}_rgb_anon.png"
    label = "gt/{stem}_gt_labelTrainIds.png"

    def fields(self, split: str, number: int) -> dict[str, Any]:
        sequence = f"{'GOPR' if split == 'train' else 'GP02'}{number:04}"
        return {"stem": f"{CONDITIONS[number % 4]}/{split}/{sequence}/{sequence}_frame_000{number:03}"}

    def test_values_that_labels_may_hold(self, root: Path) -> None:
        assert set(ACDC(root, "train", **self.options).raw_ids) == {*range(19), 255}

    def test_reference_frames_are_left_out(self, root: Path) -> None:
        for condition in CONDITIONS:
            write_image(root / f"rgb_anon/{condition}/train_ref/GOPR0/GOPR0_frame_000001_rgb_ref_anon.png", 4, 4)
            write_image(root / f"rgb_anon/{condition}/train/GOPR0/GOPR0_frame_000001_rgb_ref_anon.png", 4, 4)
        assert len(self.open(root)) == self.sizes["train"]

    def test_a_missing_condition_is_named(self, root: Path) -> None:
        (root / "gt/rain").rename(root / "gt/elsewhere")
        with pytest.raises(DataError, match="'val' is there for fog, night, snow, but not for rain"):
            self.open(root, "val")


class TestACDCCondition(TestACDC):
    options: ClassVar[dict[str, Any]] = {"condition": "rain"}
    written: ClassVar = {"train": 16, "val": 8}
    sizes: ClassVar = {"train": 4, "val": 2, "test": 2}

    def test_all_frames_are_of_the_condition(self, root: Path) -> None:
        assert {path.relative_to(root).parts[1] for sample in self.open(root).samples for path in (sample.image, sample.label)} == {"rain"}

    def test_a_missing_condition_is_named(self, root: Path) -> None:
        (root / "gt/rain").rename(root / "gt/elsewhere")
        with pytest.raises(DataError, match="ACDC is missing or incomplete"):
            self.open(root, "val")


def tree(root: Path, images: str, labels: str, encoding: str, sequence: bool = True) -> None:
    """Two pairs per condition and split, with raw id 26."""
    for split in ("train", "val"):
        for number, condition in enumerate(CONDITIONS * 2):
            stem = f"{split}{number}_frame_000001"
            folder = f"{split}{number}/" if sequence else ""
            for kind, tail in ((images, "rgb_anon"), (labels, f"gt_{encoding}")):
                path = root / kind.format(condition=condition, split=split) / f"{folder}{stem}_{tail}.png"
                if tail == "rgb_anon":
                    write_image(path, 12, 3)
                else:
                    write_grey(path, stripes([26]))


ZIPS = {"rgb_anon": "rgb_anon_trainvaltest/rgb_anon", "gt": "gt_trainval/gt"}


@pytest.mark.parametrize("encoding", ["labelIds", "labelTrainIds"])
@pytest.mark.parametrize("inner", ["{condition}/{split}", "{split}"])
@pytest.mark.parametrize("images", ["rgb_anon", "rgb_anon_trainvaltest/rgb_anon"])
@pytest.mark.parametrize("labels", ["gt", "gt_trainval/gt"])
def test_layouts(tmp_path: Path, images: str, labels: str, inner: str, encoding: str) -> None:
    tree(tmp_path, f"{images}/{inner}", f"{labels}/{inner}", encoding)
    for split in ("train", "val", "test"):
        domain = ACDC(tmp_path, split)
        assert len(domain) == 8
        name = domain.layout.name
        assert encoding in name
        assert ("conditions in one folder" in name) == (inner == "{split}")
        assert ("image zip's folder" in name, "label zip's folder" in name) == ("trainval" in images, "trainval" in labels)
        # 26 is car as a label id and nothing as a train id.
        assert set(domain[0]["label"].unique().tolist()) == {13 if encoding == "labelIds" else 255}
        if inner == "{split}":
            with pytest.raises(DataError, match="condition=fog is asked for"):
                ACDC(tmp_path, split, condition="fog")
        else:
            assert [len(ACDC(tmp_path, split, condition=condition)) for condition in CONDITIONS] == [2, 2, 2, 2]


def test_without_the_folder_of_the_sequence(tmp_path: Path) -> None:
    tree(tmp_path, "rgb_anon/{condition}/{split}", "gt/{condition}/{split}", "labelTrainIds", sequence=False)
    assert [sample.name for sample in ACDC(tmp_path, "train", condition="snow").samples] == ["train3_frame_000001", "train7_frame_000001"]


def test_every_label_id(tmp_path: Path) -> None:
    tree(tmp_path, "rgb_anon/{condition}/{split}", "gt/{condition}/{split}", "labelIds")
    domain = ACDC(tmp_path, "val")
    assert set(domain.raw_ids) == {*range(34), 255}
    write_grey(domain.samples[0].label, stripes(list(LABEL_IDS)))
    np.testing.assert_array_equal(domain.read_label(domain.samples[0]), stripes(list(LABEL_IDS.values())))


def test_unknown_condition(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="fog, night, rain, snow"):
        ACDC(tmp_path, "val", condition="dusk")


def test_published_counts(tmp_path: Path) -> None:
    tree(tmp_path, "rgb_anon/{condition}/{split}", "gt/{condition}/{split}", "labelIds")
    assert ACDC(tmp_path, "val").official_counts == {"train": 1600, "val": 406}
    each = {condition: ACDC(tmp_path, "val", condition=condition).official_counts for condition in CONDITIONS}
    assert each == {condition: {"train": 400, "val": 106 if condition == "night" else 100} for condition in CONDITIONS}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_each_condition_has_a_configuration(tmp_path: Path, condition: str) -> None:
    tree(tmp_path / "acdc", "rgb_anon/{condition}/{split}", "gt/{condition}/{split}", "labelTrainIds")
    config = compose_domain(f"acdc_{condition}", tmp_path)
    module = instantiate(config.domain)
    assert {sample.image.relative_to(tmp_path).parts[2] for sample in module.dataset("test").samples} == {condition}
