"""Dark Zurich: night frames to judge on."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from pin_memory.domains import DarkZurich, DarkZurichDataModule
from tests.domains.readers.domain_cases import stripes, write_grey, write_image
from tests.domains.readers.target_cases import TargetCase
from tests.domains.readers.test_acdc import LABEL_IDS


class TestDarkZurich(TargetCase):
    name = "dark_zurich"
    module = DarkZurichDataModule
    expected: ClassVar = {train: train for train in range(19)} | {19: 255, 33: 255, 255: 255}

    def image_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"rgb_anon/val/night/GOPR0356/GOPR0356_frame_{number:06}_rgb_anon.png"

    def label_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"gt/val/night/GOPR0356/GOPR0356_frame_{number:06}_gt_labelTrainIds.png"

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        write_grey(path, raw)

    def test_frames_without_labels_are_left_out(self, root: Path) -> None:
        write_image(root / "rgb_anon/val/day/GOPR0356/GOPR0356_frame_000001_rgb_anon.png", 4, 4)
        write_image(root / "rgb_anon/val_ref/day/GOPR0356_ref/GOPR0356_frame_000001_ref_rgb_anon.png", 4, 4)
        write_image(root / "rgb_anon/train/night/GOPR0351/GOPR0351_frame_000001_rgb_anon.png", 4, 4)
        assert len(self.open(root)) == 4


@pytest.mark.parametrize("inner", ["", "Dark_Zurich_val_anon", "Dark_Zurich_val"])
def test_label_ids_and_inner_folders(tmp_path: Path, inner: str) -> None:
    write_image(tmp_path / inner / "rgb_anon/val/night/GOPR0356/GOPR0356_frame_000321_rgb_anon.png", 12, 3 * 256)
    write_grey(tmp_path / inner / "gt/val/night/GOPR0356/GOPR0356_frame_000321_gt_labelIds.png", stripes(list(LABEL_IDS)))
    domain = DarkZurich(tmp_path, "test")
    assert domain.layout.name == "as published, labelIds"
    assert set(domain.raw_ids) == {*range(34), 255}
    np.testing.assert_array_equal(domain.read_label(domain.samples[0]), stripes(list(LABEL_IDS.values())))
    assert domain.samples[0].name == "GOPR0356_frame_000321"
    assert domain.official_counts == {"val": 50}
