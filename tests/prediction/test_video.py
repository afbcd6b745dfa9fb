"""A video keeps its size, frame rate and number of frames."""

import resource
from pathlib import Path

import cv2
import numpy as np
import pytest

from pin_memory.prediction import Item, Saving, find_inputs, predict_items, video
from pin_memory.utils.errors import OutputError
from pin_memory.utils.pictures import overlay
from tests.helpers.models import Halves
from tests.helpers.videos import FRAMES, make, read


@pytest.mark.parametrize(("name", "size", "rate"), [("a.mp4", (64, 48), 30000 / 1001), ("a.mp4", (64, 48), 12.5), ("a.avi", (65, 49), 10)])
def test_written_back_with_overlay(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, size: tuple[int, int], rate: float) -> None:
    """With the rate and the frames of the input; an odd side loses its last row or column, with a warning."""
    item, model = make(tmp_path / name, size, rate), Halves()
    assert video.predict_video(model, item, tmp_path / "out", Saving(), batch_size=3)
    (path,) = (tmp_path / "out").iterdir()
    assert path.name == "a_overlay.mp4"
    assert ("cropped from 65x49 to 64x48" in caplog.text) == (size == (65, 49))
    assert model.batches == [(3, size[1], size[0]), (3, size[1], size[0]), (1, size[1], size[0])]
    found_rate, frames = read(path)
    assert found_rate == pytest.approx(rate, rel=1e-3)
    assert len(frames) == FRAMES
    for number, frame in enumerate(frames):
        rgb = np.full((size[1], size[0], 3), 30 * number, np.uint8)
        expected = overlay(rgb, Halves.answer(rgb).mask, 0.5)[:48, :64]
        assert frame.shape == expected.shape
        inner = np.r_[4:24, 40:60]  # compression blurs the border of the halves
        assert np.abs(frame[:, inner].astype(int) - expected[:, inner]).mean() < 6


def test_masks_of_frames_are_exact_files_and_are_not_made_twice(tmp_path: Path) -> None:
    item, saving = make(tmp_path / "a.mp4"), Saving(("mask", "confidence"), since=0)
    assert video.predict_video(Halves(), item, tmp_path / "out", saving)
    masks = sorted((tmp_path / "out" / "a_frames").glob("*_trainids.png"))
    assert [path.name for path in masks] == [f"{number:06d}_trainids.png" for number in range(FRAMES)]
    expected = Halves.answer(np.zeros((48, 64, 3), np.uint8)).mask
    assert all((cv2.imread(str(path), cv2.IMREAD_UNCHANGED) == expected).all() for path in masks)
    masks[4].unlink()
    model = Halves()
    assert video.predict_video(model, item, tmp_path / "out", saving)
    assert model.seen == 1
    assert not video.predict_video(model, item, tmp_path / "out", saving)


def test_a_finished_video_is_skipped(tmp_path: Path) -> None:
    item = make(tmp_path / "a.mp4")
    for expected in (1, 0):
        outcome = predict_items(Halves(), [item], tmp_path / "out", Saving(since=0))
        assert len(outcome.made) == expected
        assert len(outcome.skipped) == 1 - expected


def test_an_interrupted_video_leaves_nothing_half_written(tmp_path: Path) -> None:
    item = make(tmp_path / "a.mp4")
    with pytest.raises(KeyboardInterrupt):
        video.predict_video(Halves(fail_after=3), item, tmp_path / "out", Saving())
    assert not list((tmp_path / "out").iterdir())


def test_a_full_disk_is_noticed(tmp_path: Path) -> None:
    """OpenCV itself does not report it."""
    item = make(tmp_path / "a.mp4")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # no file may get larger, as on a full disk
    try:
        with pytest.raises(OutputError, match=r"a_overlay.*incomplete"):
            video.predict_video(Halves(), item, tmp_path / "out", Saving())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "out").iterdir())


def test_videos_that_cannot_be_read_do_not_stop_the_others(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole.mp4")
    short = make(tmp_path / "short.avi", rate=10)
    content = short.path.read_bytes()
    short.path.write_bytes(content[: len(content) // 2])
    (tmp_path / "text.mp4").write_text("no video")
    items = [find_inputs(tmp_path / "text.mp4").items[0], short, Item(tmp_path / "gone.mp4", Path("gone")), whole]
    outcome = predict_items(Halves(), items, tmp_path / "out", Saving())
    assert outcome.made == [whole]
    assert [line.partition(": ")[0] for line in outcome.unreadable] == [
        str(tmp_path / name) for name in ("text.mp4", "short.avi", "gone.mp4")
    ]
    assert not list((tmp_path / "out").glob("text*"))
