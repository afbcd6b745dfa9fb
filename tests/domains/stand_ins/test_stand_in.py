"""The command that draws stand-ins."""

import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from pin_memory.domains.stand_ins import writers
from pin_memory.domains.stand_ins.contact_sheet import contact_sheet, draw
from pin_memory.domains.stand_ins.looks import LOOKS
from pin_memory.domains.stand_ins.writers import StandIns
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError, OutputError


@pytest.mark.slow
def test_a_set_and_its_contact_sheet(tmp_path: Path) -> None:
    overrides = ["root=set", "images_per_domain=1", "width=96", "contact_sheet=deep/sheet.jpg"]
    command = [sys.executable, "-m", "pin_memory.stand_in", *overrides]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "set" / "stand_in.json").is_file()
    with Image.open(tmp_path / "deep" / "sheet.jpg") as sheet:
        sheet.load()
        assert sheet.format == "JPEG"


@pytest.mark.parametrize("place", ["/proc/stand_ins", "/dev/null/stand_ins"])
def test_a_place_where_nothing_can_be_made(place: str) -> None:
    with pytest.raises(OutputError, match=f"Cannot write the stand-ins to {place}"):
        StandIns(place, images_per_domain=1, seed=1, width=96).prepare()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_is_left_of_a_set_that_was_not_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    monkeypatch.setattr(writers, "write_pair", Mock(side_effect=error))
    with pytest.raises((OutputError, KeyboardInterrupt)):
        StandIns(tmp_path / "new" / "deep" / "set", images_per_domain=1, seed=1, width=96).prepare()
    assert not list(tmp_path.iterdir())


def test_the_contact_sheet_has_a_full_row_of_each_look() -> None:
    sheet = contact_sheet(5, 96)
    rows = np.split(sheet, len(LOOKS))
    assert all((row[-150:, -60:] < 250).any() for row in rows)


@pytest.mark.parametrize(
    "override", ["images_per_domain=abc", "images_per_domain=2.5", "seed=abc", "width=null", "contact_sheet=foo", "contact_sheet=foo.psd"]
)
def test_settings_of_the_wrong_kind(override: str, tmp_path: Path) -> None:
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        cfg = compose("stand_in", overrides=[f"root={tmp_path / 'set'}", override])
    with pytest.raises(ConfigurationError, match=f"^{override.partition('=')[0]}"):
        draw(cfg)
    assert not list(tmp_path.iterdir())
