"""Nighttime Driving: night frames to judge on."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from pin_memory.domains import NighttimeDriving, NighttimeDrivingDataModule
from tests.domains.readers.domain_cases import stripes, write_grey, write_image
from tests.domains.readers.target_cases import TargetCase
from tests.domains.readers.test_acdc import LABEL_IDS


class TestNighttimeDriving(TargetCase):
    name = "nighttime_driving"
    module = NighttimeDrivingDataModule
    expected: ClassVar = {train: train for train in range(19)} | {19: 255, 33: 255, 255: 255}

    def image_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"NighttimeDrivingTest/leftImg8bit/test/night/0_frame_{number:04}_leftImg8bit.png"

    def label_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"NighttimeDrivingTest/gtCoarse_daytime_trainvaltest/test/night/0_frame_{number:04}_gtCoarse_labelTrainIds.png"

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        write_grey(path, raw)


@pytest.mark.parametrize("inner", ["", "NighttimeDrivingTest"])
def test_label_ids_and_inner_folders(tmp_path: Path, inner: str) -> None:
    write_image(tmp_path / inner / "leftImg8bit/test/night/0_frame_0205_leftImg8bit.png", 12, 3 * 256)
    labels = tmp_path / inner / "gtCoarse_daytime_trainvaltest/test/night"
    write_grey(labels / "0_frame_0205_gtCoarse_labelIds.png", stripes(list(LABEL_IDS)))
    domain = NighttimeDriving(tmp_path, "test")
    assert domain.layout.name == "as published, labelIds"
    assert set(domain.raw_ids) == {*range(34), 255}
    np.testing.assert_array_equal(domain.read_label(domain.samples[0]), stripes(list(LABEL_IDS.values())))
    assert [sample.name for sample in NighttimeDriving(tmp_path, "val").samples] == ["0_frame_0205"]
    assert domain.official_counts == {"test": 50}
