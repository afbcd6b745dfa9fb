"""Dark Zurich and Nighttime Driving: night frames to evaluate on."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from pin_memory.domains import DarkZurich, DarkZurichDataModule, NighttimeDriving, NighttimeDrivingDataModule
from tests.domains.readers.domain_cases import stripes, write_grey, write_image
from tests.domains.readers.target_cases import TargetCase
from tests.domains.readers.test_acdc import LABEL_IDS

EXPECTED = {train: train for train in range(19)} | {19: 255, 33: 255, 255: 255}


class TestDarkZurich(TargetCase):
    name = "dark_zurich"
    module = DarkZurichDataModule
    expected: ClassVar = EXPECTED
    image = "rgb_anon/val/night/GOPR0356/GOPR0356_frame_{number:06}_rgb_anon.png"
    label = "gt/val/night/GOPR0356/GOPR0356_frame_{number:06}_gt_labelTrainIds.png"

    def test_frames_without_labels_are_left_out(self, root: Path) -> None:
        write_image(root / "rgb_anon/val/day/GOPR0356/GOPR0356_frame_000001_rgb_anon.png", 4, 4)
        write_image(root / "rgb_anon/val_ref/day/GOPR0356_ref/GOPR0356_frame_000001_ref_rgb_anon.png", 4, 4)
        write_image(root / "rgb_anon/train/night/GOPR0351/GOPR0351_frame_000001_rgb_anon.png", 4, 4)
        assert len(self.open(root)) == 4


class TestNighttimeDriving(TargetCase):
    name = "nighttime_driving"
    module = NighttimeDrivingDataModule
    expected: ClassVar = EXPECTED
    image = "NighttimeDrivingTest/leftImg8bit/test/night/0_frame_{number:04}_leftImg8bit.png"
    label = "NighttimeDrivingTest/gtCoarse_daytime_trainvaltest/test/night/0_frame_{number:04}_gtCoarse_labelTrainIds.png"


DARK_ZURICH = (DarkZurich, "rgb_anon/val/night/GOPR0356/{}_rgb_anon.png", "gt/val/night/GOPR0356/{}_gt_labelIds.png")
NIGHTTIME_DRIVING = (
    NighttimeDriving,
    "leftImg8bit/test/night/{}_leftImg8bit.png",
    "gtCoarse_daytime_trainvaltest/test/night/{}_gtCoarse_labelIds.png",
)


@pytest.mark.parametrize(
    ("reader", "image", "label", "inner", "name", "split"),
    [
        *((*DARK_ZURICH, inner, "GOPR0356_frame_000321", "val") for inner in ("", "Dark_Zurich_val_anon", "Dark_Zurich_val")),
        *((*NIGHTTIME_DRIVING, inner, "0_frame_0205", "test") for inner in ("", "NighttimeDrivingTest")),
    ],
)
def test_label_ids_and_inner_folders(
    tmp_path: Path, reader: type[DarkZurich | NighttimeDriving], image: str, label: str, inner: str, name: str, split: str
) -> None:
    write_image(tmp_path / inner / image.format(name), 12, 3 * 256)
    write_grey(tmp_path / inner / label.format(name), stripes(list(LABEL_IDS)))
    domain = reader(tmp_path, "test")
    assert domain.layout.name == "as published, labelIds"
    assert set(domain.raw_ids or ()) == {*range(34), 255}
    np.testing.assert_array_equal(domain.read_label(domain.samples[0]), stripes(list(LABEL_IDS.values())))
    assert [sample.name for sample in reader(tmp_path, "val").samples] == [name]
    assert domain.official_counts == {split: 50}
