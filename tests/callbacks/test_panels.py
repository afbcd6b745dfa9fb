"""Panels of the targets."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pin_memory.callbacks import PredictionPanels
from pin_memory.callbacks.panels import write_tiles
from pin_memory.utils.labels import CITYSCAPES, IGNORE, LabelSpace
from pin_memory.utils.pictures import overview, overview_row
from tests.helpers.fakes import TinyDomains, TinyMethod, tiny_trainer


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
    assert panels.overview == tmp_path / "overview.jpg"
    with Image.open(panels.overview) as picture:
        assert 1200 < picture.width < 2000  # three tiles in two columns
        assert picture.height > 3 * 150  # three rows of two


def test_a_target_is_shown_in_its_own_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    green = LabelSpace(CITYSCAPES.names, np.tile(np.array([0, 200, 0], np.uint8), (19, 1)))
    monkeypatch.setattr(TinyDomains, "space_of", lambda self, stage: green if stage == "idd" else self.outputs)
    trainer = tiny_trainer(tmp_path, [PredictionPanels(tmp_path / "panels", per_target=1, tiles=tmp_path / "tiles")])
    trainer.test(TinyMethod(), TinyDomains(), verbose=False)
    for target, colour in (("idd", (0, 200, 0)), ("cityscapes", tuple(CITYSCAPES.palette[0].tolist()))):
        (path,) = (tmp_path / "tiles").glob(f"{target}_*_prediction.png")
        with Image.open(path) as picture:
            assert picture.convert("RGB").getpixel((2, 2)) == colour


def test_the_overview_shows_each_prediction_next_to_its_ground_truth() -> None:
    truth, prediction = np.full((40, 60), 10), np.full((40, 60), 13)
    truth[:10] = IGNORE
    row = overview_row(np.full((40, 60, 3), 77, np.uint8), truth, prediction, "a: b")
    height, width = row.shape[:2]
    assert width == 3 * 300 + 2 * 2
    middles = [row[height * 3 // 4, column] for column in (150, 452, 754)]
    assert [tuple(colour) for colour in middles] == [(77, 77, 77), tuple(CITYSCAPES.palette[10]), tuple(CITYSCAPES.palette[13])]
    body = overview([row, row, row], [10, 13])
    assert body.shape[1] > 2 * width
    assert np.array_equal(body[40 : 40 + height, 8 : 8 + width], row)  # below the margin and the head


def test_none_asked_for_none_drawn(tmp_path: Path) -> None:
    panels = PredictionPanels(tmp_path / "panels", per_target=0)
    tiny_trainer(tmp_path, [panels]).test(TinyMethod(), TinyDomains(), verbose=False)
    assert panels.paths == []
    assert panels.overview is None
    assert not (tmp_path / "panels").exists()


def test_panels_that_cannot_be_written_are_left_out_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "panels").write_text("in the way")
    panels = PredictionPanels(tmp_path / "panels")
    with caplog.at_level(logging.WARNING, "pin_memory"):
        tiny_trainer(tmp_path, [panels]).test(TinyMethod(), TinyDomains(), verbose=False)
    assert panels.paths == []
    (warning,) = (record.getMessage() for record in caplog.records if record.name.startswith("pin_memory"))
    assert str(tmp_path / "panels") in warning
    assert "Evaluation continues" in warning


def test_image_truth_and_prediction_are_kept_for_the_report(tmp_path: Path) -> None:
    panels = PredictionPanels(tmp_path / "panels", per_target=1)
    tiny_trainer(tmp_path, [panels]).test(TinyMethod(), TinyDomains(), verbose=False)
    index = json.loads((tmp_path / "tiles" / "index.json").read_text())
    assert index["classes"] == list(CITYSCAPES.names)
    assert index["palette"] == CITYSCAPES.palette.tolist()
    assert [(panel["target"], panel["name"]) for panel in index["panels"]] == [("cityscapes", "cityscapes/4"), ("idd", "idd/1")]
    for panel in index["panels"]:
        with Image.open(tmp_path / "tiles" / panel["truth"]) as picture:
            truth = np.asarray(picture)  # train ids, not colours
            colours = np.asarray(picture.convert("RGB"))
        assert np.array_equal(np.unique(truth), [0, 10, IGNORE])
        assert np.array_equal(colours[0, 0], CITYSCAPES.palette[10])
        with Image.open(tmp_path / "tiles" / panel["prediction"]) as picture:
            assert not np.asarray(picture).any()
        assert panel["wrong"] == pytest.approx(12 / 23)  # the sky, of 24 rows without the last


def test_large_pictures_are_shrunk_and_small_ones_are_not(tmp_path: Path) -> None:
    for width, expected in ((1920, 960), (100, 100)):
        mask = np.zeros((width // 2, width), np.int64)
        files = write_tiles(tmp_path, "a", np.zeros((width // 4, width // 2, 3), np.uint8), mask, mask, CITYSCAPES)
        for kind in ("image", "truth", "prediction"):
            with Image.open(tmp_path / str(files[kind])) as picture:
                assert picture.size == (expected, expected // 2)


def test_tiles_can_be_left_out(tmp_path: Path) -> None:
    panels = PredictionPanels(tmp_path / "panels", per_target=1, tiles=False)
    tiny_trainer(tmp_path, [panels]).test(TinyMethod(), TinyDomains(), verbose=False)
    assert not (tmp_path / "tiles").exists()
