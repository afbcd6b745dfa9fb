"""Panels of the targets."""

import logging
from pathlib import Path

import pytest
from PIL import Image

from pin_memory.callbacks import PredictionPanels
from tests.callbacks.fakes import TinyDomains, TinyMethod, tiny_trainer


def test_evenly_spaced_pictures_of_every_target(tmp_path: Path) -> None:
    panels = PredictionPanels(tmp_path / "panels", per_target=4)
    trainer = tiny_trainer(tmp_path, [panels])
    for _ in range(2):  # a second test replaces the list
        trainer.test(TinyMethod(), TinyDomains(), verbose=False)
    names = [path.name for path in panels.paths]
    assert names == [*(f"cityscapes_cityscapes_{index}.jpg" for index in (1, 3, 5, 7)), "idd_idd_0.jpg", "idd_idd_1.jpg"]
    assert sorted(path.name for path in (tmp_path / "panels").iterdir()) == sorted(names)
    with Image.open(panels.paths[0]) as picture:
        assert picture.width > 800


def test_none_asked_for_none_drawn(tmp_path: Path) -> None:
    panels = PredictionPanels(tmp_path / "panels", per_target=0)
    tiny_trainer(tmp_path, [panels]).test(TinyMethod(), TinyDomains(), verbose=False)
    assert panels.paths == []
    assert not (tmp_path / "panels").exists()


def test_panels_that_cannot_be_written_are_left_out_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "panels").write_text("in the way")
    panels = PredictionPanels(tmp_path / "panels")
    with caplog.at_level(logging.WARNING, "pin_memory"):
        tiny_trainer(tmp_path, [panels]).test(TinyMethod(), TinyDomains(), verbose=False)
    assert panels.paths == []
    (warning,) = (record.getMessage() for record in caplog.records if record.name.startswith("pin_memory"))
    assert str(tmp_path / "panels") in warning
    assert "Judging goes on" in warning
