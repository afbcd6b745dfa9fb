"""TensorBoard and MLflow: what they are given is what the CSV file has, and a training that resumes continues its run."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import Logger

from pin_memory.callbacks import BestCheckpoint, PredictionPanels, TrackedPictures
from pin_memory.loggers import CSVLogger, log_scores, log_settings, mlflow_logger, tensorboard_logger
from pin_memory.loggers.keys import find
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.fakes import TinyDomains, TinyMethod, tiny_trainer

RESULTS = {
    "targets": {"cityscapes": {"miou": 0.25, "iou": {"road": 0.5, "traffic light": None}}, "idd": {"miou": None, "iou": {"road": None}}},
    "mean_miou": 0.25, "selection": "last (step 12)", "protocol": "whole@1", "stand_in": True,
}  # fmt: skip
SCORES = {"test/mean_miou": 0.25, "test/miou_cityscapes": 0.25, "test/iou_cityscapes/road": 0.5}


class Memory(torch.nn.Module):
    """Three classes of two channels."""

    initialised = True
    items = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])


Points = dict[str, list[tuple[int, float]]]


def train(folder: Path, logger: Logger | None, steps: int = 12, rate: float = 0.1) -> Points:
    """Train, test and log with a logger; the points that the CSV file has."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(f"name: mine\noptimizer: {{lr: {rate}, betas: [0.9, 0.99], 'a, b': null}}\nsteps_{steps}: 1\n")
    (folder / "provenance.json").write_text(json.dumps({"revision": "abc"}))
    callbacks = [BestCheckpoint(folder / "checkpoints"), PredictionPanels(folder / "panels", per_target=1), TrackedPictures()]
    loggers = [CSVLogger(folder / "metrics.csv"), logger]
    trainer = tiny_trainer(folder, callbacks, max_steps=steps, log_every_n_steps=4, logger=loggers)
    method, data = TinyMethod((0.5, 0.7, 0.6)), TinyDomains()
    method.network = torch.nn.Module()
    method.network.memory = Memory()
    log_settings(trainer.loggers, folder, "mine", "tiny", 304, True)
    trainer.fit(method, data)
    trainer.test(method, data, verbose=False)
    log_scores(trainer.loggers, RESULTS, trainer.global_step)
    points: Points = {}
    with (folder / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            for key, value in row.items():
                if value and key not in ("step", "epoch"):
                    points.setdefault(key, []).append((int(row["step"]), float(value)))
    assert {"loss/inner", "val/miou"} <= points.keys()
    return points


def check(found: Points, points: Points, steps: int = 12) -> None:
    """Compare what a tracker was given with the points of the CSV file, and with what it alone is given."""
    similarity = pytest.approx((0.0 + 0.6 + 0.8) / 3, rel=1e-6)
    for key, values in points.items():
        assert [(step, pytest.approx(value, rel=1e-6)) for step, value in values] == found[key], key
    assert found["val/best_step"][-1][1] == 6  # 0.7, the score after that of the sanity check
    assert found["memory/mean_similarity"] == [(6, similarity), (12, similarity)]
    assert {key: values for key, ((_, values),) in ((key, found[key]) for key in SCORES)} == SCORES
    assert found["test/mean_miou"][0][0] == steps
    assert not [key for key in found if key != "epoch" and find(key) is None]
    assert not found.keys() - points.keys() - SCORES.keys() - {"val/best_step", "memory/mean_similarity", "epoch"}


def test_tensorboard_has_the_metrics_the_pictures_the_settings_and_the_notes(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    points = train(tmp_path, tensorboard_logger(tmp_path))
    events = EventAccumulator(str(tmp_path / "tensorboard"), {"scalars": 0, "images": 0, "tensors": 0}).Reload()
    tags = events.Tags()
    check({key: [(event.step, event.value) for event in events.Scalars(key)] for key in tags["scalars"]}, points)
    assert sorted(tags["images"]) == ["memory/similarity", "panels/cityscapes/0", "panels/idd/0", "panels/overview"]
    assert [event.step for event in events.Images("memory/similarity")] == [6, 12]
    assert "STAND-IN" in events.Tensors("test/note/text_summary")[0].tensor_proto.string_val[0].decode()
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    start = HParamsPluginData.FromString(content).session_start_info.hparams
    assert {name: start[name].number_value for name in ("optimizer.lr",)} == {"optimizer.lr": 0.1}
    assert {name: start[name].string_value for name in ("name", "optimizer.betas", "method_name", "provenance.revision")} == {
        "name": "mine", "optimizer.betas": "[0.9, 0.99]", "method_name": "mine", "provenance.revision": "abc",
    }  # fmt: skip


@pytest.mark.slow
def test_mlflow_has_the_same_and_a_training_that_resumes_continues_the_run(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="needs the extra mlflow")
    from mlflow.tracking import MlflowClient

    address = {"tracking_uri": f"sqlite:///{tmp_path / 'mlflow.db'}", "artifact_location": str(tmp_path / "artifacts")}
    points = train(tmp_path / "a", mlflow_logger(tmp_path / "a", **address))
    client = MlflowClient(address["tracking_uri"])
    (run,) = client.search_runs([client.get_experiment_by_name("pin_memory").experiment_id])
    found = {key: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, key)] for key in run.data.metrics}
    check({key: sorted(values) for key, values in found.items()}, points)
    assert (run.info.run_name, run.info.status, run.info.user_id) == ("mine seed 304", "FINISHED", "")
    expected = {"name": "mine", "optimizer.lr": "0.1", "optimizer.a_ b": "None", "provenance.revision": "abc"}
    assert run.data.params | expected == run.data.params
    assert {value for name, value in run.data.tags.items() if name.startswith("mlflow.source.git")} == {""}
    assert run.data.tags["mlflow.source.name"] == "pin_memory.train"
    assert "STAND-IN" in run.data.tags["test/note"]
    pictures = sorted(str(path.relative_to(tmp_path / "artifacts").as_posix()).partition("artifacts/")[2]
                      for path in (tmp_path / "artifacts").rglob("*.png"))  # fmt: skip
    assert pictures == [
        "memory/similarity/00000006.png", "memory/similarity/00000012.png", "panels/cityscapes/0/00000012.png",
        "panels/idd/0/00000012.png", "panels/overview/00000012.png",
    ]  # fmt: skip

    train(tmp_path / "b", mlflow_logger(tmp_path / "b", resume=tmp_path / "a", **address), 18, 0.2)
    (again,) = client.search_runs([run.info.experiment_id])
    assert again.info.run_id == run.info.run_id
    assert (again.data.params["optimizer.lr"], again.data.params["steps_18"]) == ("0.1", "1")  # MLflow's settings stay as they were
    assert max(metric.step for metric in client.get_metric_history(run.info.run_id, "test/mean_miou")) == 18


@pytest.mark.slow
def test_a_server_of_mlflow_that_fails_half_way_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("mlflow", reason="needs the extra mlflow")
    logger = mlflow_logger(tmp_path, tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}", artifact_location=str(tmp_path / "artifacts"))
    assert logger is not None
    calls: list[Any] = []

    def fail(*args: Any, **kwargs: Any) -> None:
        calls.append(args)
        raise OSError("no route")

    for name in ("log_image", "set_terminated"):
        monkeypatch.setattr(type(logger.experiment), name, fail)
    train(tmp_path, logger)
    assert len(calls) >= 2
    assert sum("no route" in record.message for record in caplog.records) >= 1


@pytest.mark.parametrize(("make", "name"), [(tensorboard_logger, "tensorboard"), (mlflow_logger, "mlflow")])
def test_a_missing_package_is_said(make: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pin_memory.loggers.trackers.find_spec", lambda module: None)
    with pytest.raises(ConfigurationError, match=rf"logger={name} needs the package {name}: pip install -e '\.\[{name}\]'"):
        make(tmp_path)


def test_mlflow_without_an_address_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pin_memory.loggers.trackers.find_spec", lambda module: module)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigurationError, match=r"Set logger\.mlflow\.tracking_uri"):
        mlflow_logger(tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_address_that_does_not_answer_is_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="needs the extra mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    logger = mlflow_logger(tmp_path, tracking_uri="http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match=r"MLflow at http://127\.0\.0\.1:9 takes no run"):
        train(tmp_path, logger)
    with pytest.raises(ConfigurationError, match="takes no run"):
        mlflow_logger(tmp_path, tracking_uri="nothing://x")


def test_nothing_is_drawn_or_logged_without_trackers(tmp_path: Path) -> None:
    assert train(tmp_path, CSVLogger(tmp_path / "other.csv"))
    assert not (tmp_path / "checkpoints" / "mlflow_id.txt").exists()
