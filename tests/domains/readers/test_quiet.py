"""What Python, Pillow's libraries, OpenCV and FFmpeg say of odd files does not drown the messages: one line for each file, at most."""

import os
import shutil
import subprocess
import sys
import warnings
from contextlib import suppress
from importlib.util import module_from_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pin_memory.domains.checks.files import verify
from pin_memory.domains.readers.label_maps import read_codes, read_deep_red, read_indices
from pin_memory.prediction import Saving, predict_items
from pin_memory.prediction.inputs import find_inputs
from pin_memory.utils import decoding
from pin_memory.utils.decoding import read_rgb
from pin_memory.utils.errors import DataError
from tests.helpers import videos
from tests.helpers.models import Halves
from tests.helpers.odd_files import DAMAGED, SIDE, UNUSUAL, scene, write_all


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    write_all(tmp_path_factory.mktemp("odd") / "files")
    return tmp_path_factory.getbasetemp() / "odd0" / "files"


@pytest.mark.parametrize("name", [*UNUSUAL, *DAMAGED])
def test_nothing_is_printed(folder: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    for read in (read_rgb, read_indices, read_codes, read_deep_red, verify):
        with suppress(DataError):
            read(folder / name)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_files_are_read(folder: Path, name: str) -> None:
    assert read_rgb(folder / name).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_refused_in_one_line(folder: Path, name: str) -> None:
    with pytest.raises(DataError) as error:
        read_rgb(folder / name)
    assert str(error.value).startswith(f"{folder / name}: cannot be decoded (")
    assert "\n" not in str(error.value)


def test_warnings_of_pillow_are_left_out(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4))
    picture.putpalette(bytes(range(48)))
    picture.save(tmp_path / "palette.png", transparency=bytes(range(16)))
    monkeypatch.setattr(sys, "warnoptions", [])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert decoding.__spec__ is not None
        assert decoding.__spec__.loader is not None
        decoding.__spec__.loader.exec_module(module_from_spec(decoding.__spec__))  # what the first import does
        for path in (folder / "cut.tif", folder / "bad EXIF.jpg", tmp_path / "palette.png"):
            verify(path, decode=True)
            if path.suffix != ".tif":
                read_rgb(path)
        warnings.warn("of another module", UserWarning, stacklevel=1)
    assert [str(one.message) for one in seen] == ["of another module"]


def test_prediction_names_each_file_once(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    outcome = predict_items(Halves(), find_inputs(f"{folder}/*.*").items, tmp_path / "out", Saving(("mask",)), 2, 2)
    assert capfd.readouterr().err == ""
    readable = {item.path.name for item in outcome.made}
    assert readable == set(UNUSUAL)
    images = [name for name in DAMAGED if not name.endswith(".gif")]  # no image in a folder
    assert sorted(line.split(": cannot be")[0] for line in outcome.unreadable) == sorted(str(folder / name) for name in images)


_TRAIN = """
from itertools import islice
from pathlib import Path
from pin_memory.domains import FolderDataModule, Loading, TrainTransform
loading = Loading(batch_size=2, num_workers=2, on_bad_sample="skip", max_bad_share=0.9)
module = FolderDataModule(Path("own"), TrainTransform(32), loading)
for batch in islice(module.train_dataloader("own"), 60):
    assert batch["image"].shape == (2, 3, 32, 32)
print(len(module.bad_samples.names))
"""
_VIDEO = """
from pathlib import Path
from pin_memory.prediction import Item, Saving, predict_items
from tests.helpers.models import Halves
items = [Item(path, Path(path.stem)) for path in sorted(Path("videos").iterdir())]
print(*predict_items(Halves(), items, Path("out"), Saving(("overlay",))).unreadable, sep="\\n")
"""


def python(program: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, timeout=300, env=environment)


@pytest.fixture
def own(tmp_path: Path, folder: Path) -> Path:
    """Own data of the odd files, and six good ones, whose labels are fine."""
    (tmp_path / "own" / "labels").mkdir(parents=True)
    shutil.copytree(folder, tmp_path / "own" / "images")
    for path in list((tmp_path / "own" / "images").iterdir()):
        path.rename(path.with_name(f"{path.name.replace('.', ' ')}{path.suffix.replace('.gif', '.bmp')}"))
    for number in range(6):
        Image.fromarray(scene(number)).save(tmp_path / "own" / "images" / f"z{number}.png")
    for path in (tmp_path / "own" / "images").iterdir():
        ids = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE) % 19
        Image.fromarray(ids).save(tmp_path / "own" / "labels" / f"{path.stem}.png")
    return tmp_path


@pytest.mark.slow
def test_training_with_loading_processes(own: Path) -> None:
    ended = python(_TRAIN, own)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stderr.splitlines()
    assert len(lines) == int(ended.stdout) > 4
    assert all("is left out of training, others take its place" in line and "cannot be decoded" in line for line in lines)


@pytest.mark.slow
def test_check(own: Path) -> None:
    arguments = ["paths.data=.", "+domain@data.sources.own=folder", "data.sources.own.root=own", "deep=true", "workers=2"]
    ended = subprocess.run(
        [sys.executable, "-m", "pin_memory.check", *arguments], cwd=own, capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr == ""
    for name in DAMAGED:
        stem = name.replace(".", " ")
        assert len([line for line in ended.stdout.splitlines() if f"own/images/{stem}." in line]) == 1, ended.stdout


@pytest.mark.slow
def test_videos(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    videos.make(tmp_path / "a.mp4")
    content = (tmp_path / "a.mp4").read_bytes()
    place = content.index(b"mdat") + 60
    damaged = {"cut": content[: len(content) // 2], "garbled": content[:place] + bytes(300) + content[place + 300 :], "text": b"no video"}
    for name, body in damaged.items():
        for suffix in (".mp4", ".mkv"):
            (tmp_path / "videos" / f"{name}{suffix}").write_bytes(body)
    ended = python(_VIDEO, tmp_path)
    assert ended.stderr == ""
    for name in ("cut", "text"):
        assert ended.stdout.count(f"{name}.mp4: ") == ended.stdout.count(f"{name}.mkv: ") == 1
