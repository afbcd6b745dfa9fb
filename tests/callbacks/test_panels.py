"""Panels of the targets."""

from pathlib import Path

import pytest
from PIL import Image

from pin_memory.callbacks import PredictionPanels
from pin_memory.errors import OutputError
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


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "panels").write_text("in the way")
    with pytest.raises(OutputError, match="panels"):
        tiny_trainer(tmp_path, [PredictionPanels(tmp_path / "panels")]).test(TinyMethod(), TinyDomains(), verbose=False)
