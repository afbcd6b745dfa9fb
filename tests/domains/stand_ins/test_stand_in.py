"""The command that draws stand-ins."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image


def stand_in(cwd: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Run the command in `cwd`."""
    command = [sys.executable, "-m", "pin_memory.stand_in", "root=set", *overrides]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def test_a_set_and_its_contact_sheet(tmp_path: Path) -> None:
    done = stand_in(tmp_path, "images_per_domain=1", "width=96", "contact_sheet=deep/sheet.jpg")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "set" / "stand_in.json").is_file()
    with Image.open(tmp_path / "deep" / "sheet.jpg") as sheet:
        sheet.load()
        assert sheet.format == "JPEG"


@pytest.mark.parametrize(
    "override", ["images_per_domain=abc", "images_per_domain=2.5", "seed=abc", "width=null", "contact_sheet=foo", "contact_sheet=foo.psd"]
)
def test_settings_of_the_wrong_kind(override: str, tmp_path: Path) -> None:
    done = stand_in(tmp_path, override)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: " + override.replace("null", "None"))
    assert not list(tmp_path.iterdir())
