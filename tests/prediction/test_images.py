"""Many images: which files are written, what is not made twice, and what is reported when it cannot be."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pin_memory.domains.readers.cityscapes import Cityscapes
from pin_memory.prediction import Outcome, Saving, find_inputs, predict_items
from pin_memory.prediction.images import existing_results
from pin_memory.prediction.inputs import RECORD
from pin_memory.prediction.outputs import label_ids
from pin_memory.prediction.run import open_record
from pin_memory.utils.errors import ConfigurationError, OutputError, ResourceError
from pin_memory.utils.labels import CITYSCAPES, PALETTE, LabelSpace
from tests.helpers.models import Halves
from tests.helpers.videos import make as make_video

KINDS = ("mask", "color", "overlay", "confidence", "logits")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with images at two depths and other things."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name, color in (("b.JPG", (10, 20, 30)), ("a.png", (200, 100, 50)), ("more/c.png", (9, 9, 9))):
        Image.new("RGB", (60, 40), color).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


def predict(model: Halves, source: Path, output: Path, batch_size: int = 1, **saving: object) -> Outcome:
    """Segment as the command does."""
    return predict_items(model, find_inputs(source, output).items, output, Saving(**saving), batch_size)  # type: ignore[arg-type]


# Files ----------------------------------------------------------------------------------------------------------------


def test_three_files_per_image_in_the_tree_of_the_input(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    predict(Halves(), photos, output)
    expected = {f"{stem}_{kind}" for stem in ("a", "b", "more/c") for kind in ("trainids.png", "color.png", "overlay.jpg")}
    assert {path.relative_to(output).as_posix() for path in output.rglob("*.*")} == expected
    with Image.open(output / "a_trainids.png") as mask:
        assert mask.mode == "L"
        assert (np.asarray(mask) == Halves.answer(np.zeros((40, 60, 3), np.uint8)).mask).all()
    with Image.open(output / "a_color.png") as color:
        assert color.getpixel((59, 0)) == tuple(PALETTE[0].tolist())
    with Image.open(output / "a_overlay.jpg") as overlay:
        assert overlay.height > 40, "the legend is below the picture"


def test_every_kind(photos: Path, tmp_path: Path) -> None:
    predict(Halves(), photos / "a.png", tmp_path / "out", save=KINDS)
    assert len(list((tmp_path / "out").iterdir())) == 5
    with Image.open(tmp_path / "out" / "a_confidence.png") as confidence:
        assert confidence.mode == "L"
        assert np.unique(confidence).tolist() == [128]
    with np.load(tmp_path / "out" / "a_logits.npz") as scores:
        assert scores["logits"].shape == (19, 40, 60)
        assert scores["logits"].dtype == np.float16
        assert scores["classes"].tolist() == list(CITYSCAPES.names)


def test_label_ids_are_those_of_cityscapes(photos: Path, tmp_path: Path) -> None:
    published = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]  # of the data set's own label table
    assert label_ids()[:19].tolist() == published
    assert Cityscapes.table[label_ids()[:19]].tolist() == list(range(19))
    predict(Halves(), photos / "a.png", tmp_path / "out", save=("mask",), ids="label")
    (path,) = (tmp_path / "out").iterdir()
    assert path.name == "a_labelids.png"
    mask = np.asarray(Image.open(path))
    assert mask.dtype == np.uint8
    assert np.unique(mask).tolist() == [7, 23]
    with pytest.raises(ConfigurationError, match="Cityscapes"):
        Saving(ids="label").check_classes(LabelSpace(("ground", "sky"), PALETTE[:2]))


def test_masks_for_the_server_of_acdc_have_the_names_of_the_images(photos: Path, tmp_path: Path) -> None:
    predict(Halves(), photos / "a.png", tmp_path / "out", save=("mask", "color"), ids="acdc")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "a_color.png"]
    assert np.unique(np.asarray(Image.open(tmp_path / "out" / "a.png"))).tolist() == [0, 10]  # train ids
    with pytest.raises(ConfigurationError, match="folder of the images themselves"):  # which it would replace
        predict(Halves(), photos / "a.png", photos, save=("mask",), ids="acdc")
    with pytest.raises(ConfigurationError, match="ids=acdc"):
        Saving(ids="acdc").check_classes(LabelSpace(("ground", "sky"), PALETTE[:2]))


@pytest.mark.parametrize(
    "setting", [{"save": ("masks",)}, {"save": ()}, {"ids": "raw"}, {"alpha": 1.5}, {"alpha": -0.1}, {"alpha": "much"}]
)
def test_settings_outside_their_range_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=f"^{next(iter(setting))} "):
        Saving(**setting)  # type: ignore[arg-type]


def test_neighbours_of_one_size_are_segmented_together(tmp_path: Path) -> None:
    sizes = [(60, 40), (60, 40), (60, 40), (40, 60), (60, 40)]
    for number, size in enumerate(sizes):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
    model = Halves()
    predict(model, tmp_path, tmp_path / "out", batch_size=2)
    assert model.batches == [(2, 40, 60), (1, 40, 60), (1, 60, 40), (1, 40, 60)]
    assert len(list((tmp_path / "out").glob("*_trainids.png"))) == 5


# Resuming --------------------------------------------------------------------------------------------------------------


def test_an_interrupted_folder_is_resumed(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    since = open_record(output, {"a": 1}).stat().st_mtime_ns
    with pytest.raises(KeyboardInterrupt):
        predict(Halves(fail_after=2), photos, output, since=since)
    assert not list(output.rglob(".*")), "nothing half-written"
    assert len(list(output.rglob("*_overlay.jpg"))) == 2, "what was segmented is written"
    model = Halves()
    outcome = predict(model, photos, output, since=open_record(output, {"a": 1}).stat().st_mtime_ns)
    assert model.seen == len(outcome.made) == 1
    assert len(outcome.skipped) == 2
    assert predict(Halves(fail_after=0), photos, output, since=since).made == []


@pytest.mark.parametrize("change", ["missing", "empty", "newer image", "other kinds", "overwrite"])
def test_what_is_not_done_is_done_again(photos: Path, tmp_path: Path, change: str) -> None:
    output = tmp_path / "out"
    predict(Halves(), photos, output)
    path = output / "more" / "c_overlay.jpg"
    if change == "missing":
        path.unlink()
    elif change == "empty":
        path.write_bytes(b"")
    elif change == "newer image":
        later = path.stat().st_mtime + 10
        os.utime(photos / "more" / "c.png", (later, later))
    model = Halves()
    kinds = ("mask", "confidence") if change == "other kinds" else None
    predict(model, photos, output, save=kinds, since=None if change == "overwrite" else 0)
    assert model.seen == (3 if change in ("other kinds", "overwrite") else 1)
    Image.open(path).load()


def test_results_of_other_settings_are_not_mixed(photos: Path, tmp_path: Path) -> None:
    """Not even when making everything again is interrupted."""
    output = tmp_path / "out"
    output.mkdir()
    first = open_record(output, {"ids": "train", "digest": "1" * 64, "checkpoint": "a.ckpt"})
    predict(Halves(), photos, output, since=first.stat().st_mtime_ns)
    other = {"ids": "train", "digest": "2" * 64, "checkpoint": "b.ckpt"}
    with pytest.raises(ConfigurationError, match=r"a\.ckpt \(1{12}\), now b\.ckpt \(2{12}\)"):
        open_record(output, other)
    old = first.stat().st_mtime_ns - 10**9  # a second older: the clock of a file system may be coarse
    for path in output.rglob("*_*"):
        os.utime(path, ns=(old, old))
    open_record(output, other, overwrite=True)
    with pytest.raises(KeyboardInterrupt):
        predict(Halves(fail_after=1), photos, output, since=(output / RECORD).stat().st_mtime_ns)
    model = Halves()
    predict(model, photos, output, since=open_record(output, other).stat().st_mtime_ns)
    assert model.seen >= 2
    (output / RECORD).write_text("half a rec")
    with pytest.raises(ConfigurationError, match="overwrite=true"):
        open_record(output, other)


def test_files_of_the_user_are_not_replaced(photos: Path, tmp_path: Path) -> None:
    """Those that lie where a result would go, in a folder that no prediction has made."""
    output = tmp_path / "out"
    output.mkdir()
    make_video(photos / "drive.mp4", (96, 64), 12.5)
    items = find_inputs(photos, output).items + find_inputs(photos / "drive.mp4", output).items
    everything = Saving(save=KINDS)
    for name in ("a_color.png", "drive_overlay.mp4", "drive_frames/000004_logits.npz"):
        path = output / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        with pytest.raises(ConfigurationError, match=rf"{name} exists, .*overwrite=true"):
            open_record(output, {"a": 1}, existing=existing_results(items, output, everything))
        assert not (output / RECORD).exists()
        path.unlink()
    (output / "a_color.png").write_text("mine")
    open_record(output, {"a": 1}, existing=existing_results(items, output, Saving(save=("mask",))))  # nothing is lost
    (output / RECORD).unlink()
    open_record(output, {"a": 1}, overwrite=True, existing=existing_results(items, output, everything))
    open_record(output, {"a": 1}, existing=existing_results(items, output, everything))  # the record says whose they are


def test_an_unreadable_image_is_named_and_the_others_are_segmented(photos: Path, tmp_path: Path) -> None:
    (photos / "a0.png").write_bytes(b"no image")
    intact = (photos / "a.png").read_bytes()
    (photos / "a1.png").write_bytes(intact[: len(intact) // 2])
    outcome = predict(Halves(), photos, tmp_path / "out")
    assert len(outcome.made) == 3
    assert "a0.png: cannot be decoded (not a picture)" in outcome.unreadable[0]
    assert "a1.png: cannot be decoded (image file is truncated" in outcome.unreadable[1]
    assert not list((tmp_path / "out").glob("a0*"))


def test_a_result_that_cannot_be_written_ends_it(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "more").mkdir(parents=True)
    (tmp_path / "out" / "more" / "c_color.png").mkdir()
    with pytest.raises(OutputError, match="c_color"):
        predict(Halves(), photos, tmp_path / "out")


def test_too_little_memory_is_reported(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: Halves, *arguments: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Halves, "segment", fail)
    with pytest.raises(ResourceError, match="batch_size=4"):
        predict(Halves(), photos, tmp_path / "out", batch_size=4)
