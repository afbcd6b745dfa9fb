"""What is read of a run folder, and what becomes of parts that are missing or damaged."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from pin_memory.runs.folder import RunFolder, dotted
from pin_memory.utils.errors import ConfigurationError, DataError
from tests.helpers.folders import CLASSES, make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with everything."""
    path = make_run(tmp_path / "run", resume=None, seed=3)
    (path / ".hydra").mkdir()
    (path / ".hydra" / "config.yaml").write_text(
        "seed: 3\nlr: 0.1\nmethod: {_target_: x, lr: '${lr}', seed: '${seed}', net: '${net}'}\nnet: {}\n"
    )
    (path / ".hydra" / "overrides.yaml").write_text("- lr=0.1\n- method=erm\n")
    runtime = {"choices": {"method": "erm", "hydra/launcher": "basic"}, "config_sources": [{"path": "/mine", "provider": "command-line"}]}
    (path / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": runtime}}))
    return path


def test_every_part_of_a_run_is_read(run: Path) -> None:
    folder = RunFolder.read(run)
    assert folder.results
    assert (folder.results.method, folder.results.mean()) == ("erm", 0.375)
    assert folder.config["seed"] == 3
    assert folder.overrides == ["lr=0.1", "method=erm"]
    assert folder.choices == {"method": "erm"}
    assert folder.config_directory == Path("/mine")
    assert folder.metrics["val/miou"] == ([20], [0.25])
    assert folder.metrics["loss/inner"][0] == list(range(1, 22))  # the last row was cut short
    assert folder.trace is not None
    assert folder.trace[1].shape == (5, 3, 8)
    assert folder.tiles.classes == list(CLASSES)
    assert [tile.target for tile in folder.tiles.panels] == ["city", "city", "night", "night"]
    assert folder.stand_in
    assert not folder.is_evaluation
    assert folder.unread == []


@pytest.mark.parametrize(("mark", "end"), [("\ufeff", "\n"), ("\ufeff", "\r\n"), ("", "\r")])
def test_metrics_that_a_table_program_has_saved_anew(run: Path, mark: str, end: str) -> None:
    (run / "metrics.csv").write_bytes((mark + (run / "metrics.csv").read_text().replace("\n", end)).encode())
    assert RunFolder.read(run).metrics["val/miou"] == ([20], [0.25])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_metrics_in_another_encoding(run: Path, encoding: str) -> None:
    (run / "metrics.csv").write_bytes((run / "metrics.csv").read_text().encode(encoding))
    folder = RunFolder.read(run)
    assert folder.metrics["val/miou"] == ([20], [0.25])
    assert folder.unread == []


def test_metrics_with_other_separators_are_not_passed_over(run: Path) -> None:
    (run / "metrics.csv").write_text((run / "metrics.csv").read_text().replace(",", ";"))
    folder = RunFolder.read(run)
    assert not folder.metrics
    assert "no column `step` among step;epoch" in " ".join(folder.unread)


def test_settings_are_resolved_but_for_the_seed_and_for_parts_that_stand_elsewhere(run: Path) -> None:
    settings = RunFolder(run).settings
    assert settings["method.lr"] == 0.1
    assert settings["method.seed"] == "${seed}"
    assert settings["method.net"] == "${net}"
    (run / "settings.yaml").write_text("method: {_target_: y}\n")
    assert RunFolder(run).settings == {"method._target_": "y"}
    assert RunFolder(run).is_evaluation
    assert RunFolder(run).config == {"method": {"_target_": "y"}}


def test_a_folder_with_nothing_is_empty_and_one_that_is_not_there_an_error(tmp_path: Path) -> None:
    folder = RunFolder.read(tmp_path)
    assert (folder.results, folder.overrides, folder.trace, folder.config_directory) == (None, None, None, None)
    assert (folder.config, folder.settings, folder.choices, folder.metrics, folder.tiles.panels) == ({}, {}, {}, {}, [])
    assert folder.unread == []
    with pytest.raises(DataError, match="no such folder"):
        RunFolder.read(tmp_path / "nowhere")


PARTS = {
    "results.json": "results", "config.yaml": "config", "metrics.csv": "metrics", "memory_trace.npz": "trace",
    "tiles/index.json": "tiles", ".hydra/overrides.yaml": "overrides", ".hydra/hydra.yaml": "choices",
}  # fmt: skip


@pytest.mark.parametrize("file", PARTS)
def test_what_cannot_be_read_is_listed_and_nothing_else_is_lost(run: Path, file: str) -> None:
    (run / file).write_bytes(b"{\xff\xfe: [")
    folder = RunFolder(run)
    for part in PARTS.values():
        getattr(folder, part)
    assert len(folder.unread) == 1
    assert Path(file).name in folder.unread[0]
    if file != "results.json":
        assert folder.results


def test_the_checkpoint_is_that_of_the_results_else_the_best_else_the_last(run: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"expected a run folder.*best\.ckpt or last\.ckpt"):
        RunFolder(run).checkpoint()
    (run / "checkpoints").mkdir()
    for name in ("last", "best", "other"):
        (run / "checkpoints" / f"{name}.ckpt").touch()
        assert RunFolder(run).checkpoint().stem == ("best" if name == "other" else name)
    results = json.loads((run / "results.json").read_text()) | {"checkpoint": "checkpoints/other.ckpt"}
    (run / "results.json").write_text(json.dumps(results))
    assert RunFolder(run).checkpoint() == run / "checkpoints" / "other.ckpt"
    assert RunFolder(run).results_of(run / "checkpoints" / "other.ckpt")
    assert RunFolder(run).results_of(run / "checkpoints" / "best.ckpt") is None


def test_rows_from_before_a_resumption_are_left_out(run: Path) -> None:
    (run / "metrics.csv").write_text("step,epoch,loss\n1,0,4\n2,0,3\n3,0,2\n2,0,30\n3,0,20\nx,,7\n4,0")
    assert RunFolder(run).metrics == {"loss": ([1, 2, 3], [4.0, 30.0, 20.0])}
    np.testing.assert_array_equal(RunFolder(run).trace[0], np.arange(0, 25, 5))  # type: ignore[index]


def test_dotted_keys() -> None:
    assert dotted({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {"a.b": 1, "a.c.d": [2], "e": None}


def test_a_validation_is_at_the_iteration_it_was_made_after(trained_run: Path) -> None:
    """The report had it one later."""
    run = RunFolder(trained_run)
    assert run.metrics["val/miou"][0] == [run.config["trainer"]["val_check_interval"]]
