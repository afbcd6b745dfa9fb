"""`predict` as a user types it."""

import functools
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pin_memory import load_model
from pin_memory.domains.readers.cityscapes import Cityscapes
from pin_memory.predict import main
from pin_memory.prediction.inputs import RECORD
from pin_memory.prediction.run import prepare_output
from pin_memory.utils.devices import choose_device
from pin_memory.utils.errors import ConfigurationError, OutputError
from tests.helpers.in_process import refusal, run_command
from tests.helpers.untrained_run import TRUST
from tests.helpers.videos import FRAMES
from tests.helpers.videos import make as make_video
from tests.helpers.videos import read as read_video

run = functools.partial(run_command, main)
mistake = functools.partial(refusal, main)


def test_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(OutputError, match=r"notes\.txt"):
        prepare_output(tmp_path / "notes.txt")
    with pytest.raises(OutputError, match="cannot write"):
        prepare_output(tmp_path / "notes.txt" / "below")


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert choose_device("auto") == "cpu"
    for device in ("cuda", "cuda:1", "tpu", "cuda:x"):
        with pytest.raises(ConfigurationError, match="device="):
            choose_device(device)


@pytest.fixture
def scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three images at two depths, below the present folder."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for place in ("a.png", "deep/b.png", "deep/c.png"):
        (tmp_path / "scenes" / place).parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(generator.integers(0, 256, (10, 20, 3), np.uint8))
        coarse.resize((160, 80)).save(tmp_path / "scenes" / place)
    return Path("scenes")


@pytest.mark.slow
def test_the_command(untrained_run: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder by a protocol in batches; again; with other settings; with an unreadable image."""
    arguments = [f"checkpoint={untrained_run}", TRUST, "input=scenes", "output=out", "device=cpu", "protocol=whole_flip"]
    mine = Path("out/deep/b_trainids.png")
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert f"{mine} exists" in mistake(monkeypatch, capsys, *arguments)
    assert mine.read_text() == "mine"
    mine.unlink()
    run(monkeypatch, *arguments, "save=[mask,confidence,logits]", "batch_size=2")
    assert "3 images" in capsys.readouterr().out
    model = load_model(untrained_run, trust=["tests"], protocol="whole_flip")
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
    assert "1 of 4 files could not be read" in (message := mistake(monkeypatch, capsys, *arguments, "ids=label"))
    assert "d.webp" in message
    assert Path("out/a_overlay.jpg").is_file()


@pytest.mark.slow
def test_a_video(untrained_run: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comes back with the same size, rate and number of frames; its masks are those of its frames."""
    make_video(Path("drive.mp4"), (96, 64), 12.5)
    run(monkeypatch, f"checkpoint={untrained_run}", TRUST, "input=drive.mp4", "output=out", "save=[overlay,mask]", "batch_size=3")
    (rate, shown), (_, frames) = read_video(Path("out/drive_overlay.mp4")), read_video(Path("drive.mp4"))
    assert rate == pytest.approx(12.5)
    assert [frame.shape for frame in shown] == [frame.shape for frame in frames] == [(64, 96, 3)] * FRAMES
    mask = np.asarray(Image.open("out/drive_frames/000002_trainids.png"))
    assert (mask == load_model(untrained_run, trust=["tests"]).predict(np.ascontiguousarray(frames[2]))).mean() > 0.999


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["save=[masks]"], "confidence"),
        (["ids=raw"], "label"),
        (["alpha=2"], "alpha must be less than or equal to 1, found 2"),
        (["batch_size=0"], "batch_size"),
        (["protocol=slide"], "sliding_768"),
        (["output=scenes"], "Choose another"),
        (["input=nowhere"], "nowhere"),
        (["input=[]"], "empty"),
        (["device=tpu"], "cuda"),
    ],
)
def test_invalid_settings(
    untrained_run: Path,
    scenes: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    """One message that names what to fix."""
    given = {argument.partition("=")[0] for argument in arguments}
    usual = [f"checkpoint={untrained_run}", TRUST, "input=scenes", "output=out"]
    arguments = [argument for argument in usual if argument.partition("=")[0] not in given] + arguments
    assert expected in mistake(monkeypatch, capsys, *arguments)
    assert not Path("out").exists()


def test_statistics_of_a_batch_need_single_images(
    untrained_run: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = torch.load(untrained_run / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["pin_memory"]["config"]["test_statistics"]["policy"] = "batch"
    torch.save(checkpoint, "batch.ckpt")
    arguments = ["checkpoint=batch.ckpt", TRUST, "input=scenes", "output=out"]
    assert "batch_size=1" in mistake(monkeypatch, capsys, *arguments, "batch_size=2")
    assert not Path("out").exists()
    run(monkeypatch, *arguments)
    assert json.loads(Path("out", RECORD).read_text())["statistics"] == "batch"


def test_a_list_in_another_encoding(
    untrained_run: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"scenes/a.png\nscenes/caf\xe9.png\n")))
    message = mistake(monkeypatch, capsys, f"checkpoint={untrained_run}", TRUST, "input=-", "output=out")
    assert "the list on stdin cannot be read: line 2 holds the byte 0xe9" in message


@pytest.mark.parametrize(
    ("text", "reason"), [(b'["scenes/a.png", "scenes/deep/c.png"]', ""), (b"['scenes/a.png', 'scenes/deep/c.png']", "brackets around")]
)
def test_a_list_in_json(
    untrained_run: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: bytes, reason: str
) -> None:
    """Its first name was lost without a word."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    arguments = [f"checkpoint={untrained_run}", TRUST, "input=-", "output=out", "save=[mask]"]
    if reason:
        assert reason in mistake(monkeypatch, capsys, *arguments)
    else:
        run(monkeypatch, *arguments)
        assert len(list(Path("out").rglob("*.png"))) == 2


@pytest.mark.parametrize("encoding", [None, "utf-8-sig", "utf-16"])
def test_a_list_on_stdin(
    untrained_run: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], encoding: str | None
) -> None:
    """A name of the list that does not exist does not stop the others."""
    text = "scenes/a.png\nscenes/gone.png\n\nscenes/deep/c.png\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode(encoding))) if encoding else io.StringIO(text))
    message = mistake(monkeypatch, capsys, f"checkpoint={untrained_run}", TRUST, "input=-", "output=out", "save=[mask]")
    assert "1 of 3 files could not be read" in message
    assert "Traceback" not in message
    assert sorted(path.as_posix() for path in Path("out").rglob("*.png")) == ["out/scenes/a_trainids.png", "out/scenes/deep/c_trainids.png"]
