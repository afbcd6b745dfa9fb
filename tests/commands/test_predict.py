"""Segmenting files: what is written, what is not written twice, and what is said when it cannot be."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pin_memory import load_model
from pin_memory.domains.readers.cityscapes import Cityscapes
from pin_memory.inference import Predictor, Protocol
from pin_memory.predict import main
from pin_memory.prediction import Outcome, Saving, find_inputs, predict_items
from pin_memory.prediction.images import existing_results
from pin_memory.prediction.outputs import label_ids
from pin_memory.prediction.record import RECORD, open_record
from pin_memory.prediction.run import prepare_output
from pin_memory.utils.devices import choose_device
from pin_memory.utils.errors import ConfigurationError, DataError, OutputError, ResourceError
from pin_memory.utils.images import EvalTransform
from pin_memory.utils.labels import CITYSCAPES, PALETTE, LabelSpace
from tests.helpers.models import Halves
from tests.helpers.tiny import tiny_segmenter
from tests.helpers.videos import FRAMES
from tests.helpers.videos import make as make_video
from tests.helpers.videos import read as read_video

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


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run the command in this process."""
    monkeypatch.setattr("sys.argv", ["predict", *arguments])
    main()


def mistake(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says when it ends with exit code 2."""
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, *arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


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


@pytest.mark.parametrize(
    "setting", [{"save": ("masks",)}, {"save": ()}, {"ids": "raw"}, {"alpha": 1.5}, {"alpha": -0.1}, {"alpha": "much"}]
)
def test_settings_outside_their_range_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=f"^{next(iter(setting))} "):
        Saving(**setting)  # type: ignore[arg-type]


# Scores ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [Protocol("whole"), Protocol("flip", flip=True), Protocol("windows", window=(24, 24))])
def test_scores_against_float64(protocol: Protocol) -> None:
    """Mask, confidence and logits of a batch, from probabilities of a float64 copy of the network; the mask is the same without scores."""
    network, images = tiny_segmenter().eval(), [np.random.default_rng(seed).integers(0, 256, (33, 41, 3), np.uint8) for seed in (1, 2)]
    model = Predictor(network, protocol=protocol)
    found, masks_only = model.segment(images, confidence=True, logits=True), model.segment(images)
    exact = tiny_segmenter().eval().double()
    for rgb, scored, mask_only in zip(images, found, masks_only, strict=True):
        image, _ = EvalTransform()(rgb, rgb[..., 0])
        probabilities = protocol.probabilities(exact, image[None].double())[0].numpy()
        top = np.sort(probabilities, axis=0)
        clear = top[-1] - top[-2] > 1e-5
        assert clear.mean() > 0.9
        assert (scored.mask == probabilities.argmax(0))[clear].all()
        assert (scored.mask == mask_only.mask).all()
        assert mask_only.confidence is None
        assert scored.confidence is not None
        assert scored.logits is not None
        assert np.abs(scored.confidence - probabilities.max(0)).max() < 1e-5
        assert scored.logits.dtype == np.float16
        weights = np.exp(scored.logits.astype(np.float64))
        assert np.abs(weights / weights.sum(0) - probabilities).max() < 2e-3


def test_neighbours_of_one_size_are_segmented_together(tmp_path: Path) -> None:
    sizes = [(60, 40), (60, 40), (60, 40), (40, 60), (60, 40)]
    for number, size in enumerate(sizes):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
    model = Halves()
    predict(model, tmp_path, tmp_path / "out", batch_size=2)
    assert model.batches == [(2, 40, 60), (1, 40, 60), (1, 60, 40), (1, 40, 60)]
    assert len(list((tmp_path / "out").glob("*_trainids.png"))) == 5


# Going on --------------------------------------------------------------------------------------------------------------


def test_an_interrupted_folder_is_gone_on_with(photos: Path, tmp_path: Path) -> None:
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
    """Not even when making everything anew is interrupted."""
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


def test_files_of_the_user_are_not_replaced_without_a_word(photos: Path, tmp_path: Path) -> None:
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


def test_a_broken_image_is_named_and_the_others_are_segmented(photos: Path, tmp_path: Path) -> None:
    (photos / "a0.png").write_bytes(b"no image")
    whole = (photos / "a.png").read_bytes()
    (photos / "a1.png").write_bytes(whole[: len(whole) // 2])
    outcome = predict(Halves(), photos, tmp_path / "out")
    assert len(outcome.made) == 3
    assert "a0.png: not an image" in outcome.unreadable[0]
    assert "a1.png: not a readable image" in outcome.unreadable[1]
    assert not list((tmp_path / "out").glob("a0*"))


def test_a_result_that_cannot_be_written_ends_it(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "more").mkdir(parents=True)
    (tmp_path / "out" / "more" / "c_color.png").mkdir()
    with pytest.raises(OutputError, match="c_color"):
        predict(Halves(), photos, tmp_path / "out")


def test_too_little_memory_is_told(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: Halves, *arguments: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Halves, "segment", fail)
    with pytest.raises(ResourceError, match="batch_size=4"):
        predict(Halves(), photos, tmp_path / "out", batch_size=4)


def test_output_that_is_a_file_is_refused(photos: Path) -> None:
    with pytest.raises(OutputError, match=r"notes\.txt"):
        prepare_output(photos / "notes.txt")
    with pytest.raises(OutputError, match="cannot write"):
        prepare_output(photos / "notes.txt" / "below")


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert choose_device("auto") == "cpu"
    for device in ("cuda", "cuda:1", "tpu", "cuda:x"):
        with pytest.raises(ConfigurationError, match="device="):
            choose_device(device)


# The command ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def scenes(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three stand-in scenes at two depths, below the present folder."""
    monkeypatch.chdir(tmp_path)
    found = sorted((trained_run.parents[1] / "stand_ins" / "cityscapes").rglob("*_leftImg8bit.png"))
    for source, place in zip(found, ("a.png", "deep/b.png", "deep/c.png"), strict=False):
        (tmp_path / "scenes" / place).parent.mkdir(parents=True, exist_ok=True)
        Image.open(source).save(tmp_path / "scenes" / place)
    return Path("scenes")


def test_the_command(trained_run: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder by a protocol in batches; again; with other settings; with a broken image."""
    arguments = [f"checkpoint={trained_run}", "input=scenes", "output=out", "device=cpu", "protocol=whole_flip"]
    mine = Path("out/deep/b_trainids.png")
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert f"{mine} exists" in mistake(monkeypatch, capsys, *arguments)
    assert mine.read_text() == "mine"
    mine.unlink()
    run(monkeypatch, *arguments, "save=[mask,confidence,logits]", "batch_size=2")
    assert "3 images" in capsys.readouterr().out
    model = load_model(trained_run, protocol="whole_flip")
    rgb = np.asarray(Image.open(scenes / "deep" / "b.png"))
    mask, confidence = (np.asarray(Image.open(f"out/deep/b_{kind}.png")) for kind in ("trainids", "confidence"))
    assert (mask == model.predict(rgb)).mean() > 0.999  # batches round differently
    assert np.abs(confidence / 255 - model.probabilities(rgb).max(0)).max() < 0.5 / 255 + 1e-4
    record = json.loads(Path("out", RECORD).read_text())
    assert (record["protocol"], record["ids"]) == ("whole_flip@1", "train")

    run(monkeypatch, *arguments, "save=mask")
    assert "3 were there already" in capsys.readouterr().out
    assert "protocol: whole_flip@1, now whole@1" in mistake(monkeypatch, capsys, *arguments[:-1])
    assert "ids: train, now label" in mistake(monkeypatch, capsys, *arguments, "ids=label")
    run(monkeypatch, *arguments, "ids=label", "save=[mask]", "overwrite=true")
    labels = np.asarray(Image.open("out/a_labelids.png"))
    assert (Cityscapes.table[labels] == np.asarray(Image.open("out/a_trainids.png"))).all()

    (scenes / "d.webp").write_bytes(b"no image")
    assert "1 of 4 files could not be read" in (told := mistake(monkeypatch, capsys, *arguments, "ids=label"))
    assert "d.webp" in told
    assert Path("out/a_overlay.jpg").is_file()


def test_a_video(trained_run: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comes back with the same size, rate and number of frames; its masks are those of its frames."""
    make_video(Path("drive.mp4"), (96, 64), 12.5)
    run(monkeypatch, f"checkpoint={trained_run}", "input=drive.mp4", "output=out", "save=[overlay,mask]", "batch_size=3")
    (rate, shown), (_, frames) = read_video(Path("out/drive_overlay.mp4")), read_video(Path("drive.mp4"))
    assert rate == pytest.approx(12.5)
    assert [frame.shape for frame in shown] == [frame.shape for frame in frames] == [(64, 96, 3)] * FRAMES
    mask = np.asarray(Image.open("out/drive_frames/000002_trainids.png"))
    assert (mask == load_model(trained_run).predict(np.ascontiguousarray(frames[2]))).mean() > 0.999


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["save=[masks]"], "confidence"),
        (["ids=raw"], "label"),
        (["alpha=2"], "alpha=2"),
        (["batch_size=0"], "batch_size"),
        (["protocol=slide"], "sliding_768"),
        (["output=scenes"], "Choose another"),
        (["input=nowhere"], "nowhere"),
        (["input=[]"], "empty"),
        (["device=tpu"], "cuda"),
    ],
)
def test_mistakes(
    trained_run: Path,
    scenes: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    """One message that names what to mend."""
    given = {argument.partition("=")[0] for argument in arguments}
    usual = [f"checkpoint={trained_run}", "input=scenes", "output=out"]
    arguments = [argument for argument in usual if argument.partition("=")[0] not in given] + arguments
    assert expected in mistake(monkeypatch, capsys, *arguments)


def test_statistics_of_a_batch_need_single_images(
    trained_run: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = torch.load(trained_run / "checkpoints" / "last.ckpt", weights_only=True)
    checkpoint["pin_memory"]["config"]["test_statistics"]["policy"] = "batch"
    torch.save(checkpoint, "batch.ckpt")
    arguments = ["checkpoint=batch.ckpt", "input=scenes", "output=out"]
    assert "batch_size=1" in mistake(monkeypatch, capsys, *arguments, "batch_size=2")
    run(monkeypatch, *arguments)
    assert json.loads(Path("out", RECORD).read_text())["statistics"] == "batch"


def test_a_list_on_stdin(trained_run: Path, scenes: Path) -> None:
    """As a user types it; a name of the list that is not there does not stop the others."""
    done = subprocess.run(
        [sys.executable, "-m", "pin_memory.predict", f"checkpoint={trained_run}", "input=-", "output=out", "save=[mask]"],
        input="scenes/a.png\nscenes/gone.png\n\nscenes/deep/c.png\n", capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "1 of 3 files could not be read" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.as_posix() for path in Path("out").rglob("*.png")) == ["out/scenes/a_trainids.png", "out/scenes/deep/c_trainids.png"]


def test_errors_are_of_their_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        find_inputs(tmp_path / "nowhere")
