"""Whatever W&B raises, training goes on, and the log says so once; real servers and processes are in test_wandb_server.py."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pin_memory.callbacks import WandbMedia
from pin_memory.loggers import RUN_ID, finish_wandb, log_targets, wandb_logger, wandb_mode
from pin_memory.loggers import wandb as wandb_module
from pin_memory.utils.wandb_guard import GuardedLogger, GuardedRun, attempt, new_run
from tests.helpers.fakes import TinyDomains, TinyMethod, tiny_trainer

wandb = pytest.importorskip("wandb")

ERRORS = [
    wandb.errors.CommError("expired"), wandb.errors.AuthenticationError("refused"), ValueError("too large"), TypeError("not serialisable"),
    OSError(28, "No space left on device"), ConnectionResetError("Connection lost"), TimeoutError(), RuntimeError("a panic"), MemoryError(),
]  # fmt: skip


def no(error: BaseException) -> Callable[..., Any]:
    """A function that fails."""

    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


class FakeRun:
    """Keeps what is logged, or fails at each call with an error."""

    def __init__(self, run_id: str = "abc", error: Exception | None = None) -> None:
        self.id, self.url, self.step, self.error = run_id, "", 0, error
        self.rows: list[dict[str, Any]] = []
        self.summary = self.config = SimpleNamespace(update=self.log)

    def log(self, row: dict[str, Any], **_: Any) -> None:
        if self.error:
            raise self.error
        self.rows.append(row)

    def define_metric(self, *_: Any, **__: Any) -> None:
        self.log({})

    def finish(self) -> None:
        self.log({})


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody logged in, and no run of ours left."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_MODE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    new_run()
    yield
    monkeypatch.setattr(wandb_module, "_own_run", None)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
class TestWhateverIsRaised:
    def test_at_the_start_the_run_is_an_offline_one_with_the_same_id(
        self, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        asked: list[dict[str, Any]] = []

        def init(**options: Any) -> Any:
            asked.append(options)
            if options["mode"] == "online":
                raise error
            return FakeRun(options["id"])

        monkeypatch.setattr("wandb.init", init)
        monkeypatch.setattr("wandb.teardown", no(error))
        logger = wandb_logger(tmp_path)
        assert logger is not None
        assert [options["mode"] for options in asked] == ["online", "offline"]
        assert asked[0]["id"] == asked[1]["id"] == (tmp_path / "checkpoints" / RUN_ID).read_text().strip()
        (said,) = warnings_of(caplog)
        assert type(error).__name__ in said
        assert f"wandb sync {tmp_path / 'wandb' / 'offline-run-*'}" in said

    def test_at_any_start_there_is_no_logger(
        self, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("wandb.init", no(error))
        assert wandb_logger(tmp_path) is None
        (said,) = warnings_of(caplog)
        assert "metrics.csv" in said

    def test_in_a_call_it_is_reported_once(self, error: Exception, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        run = GuardedRun(FakeRun(error=error))
        for _ in range(3):
            run.log({"loss": 1.0})
        (said,) = warnings_of(caplog)
        assert type(error).__name__ in said
        run.summary.update({})
        run.config.update({})
        run.finish()

    def test_in_tables_and_pictures(
        self, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        run = FakeRun()
        monkeypatch.setattr(wandb_module, "_own_run", GuardedRun(run))
        monkeypatch.setattr("wandb.Table", no(error))
        log_targets({"targets": {"a": {"miou": 0.5, "iou": {"road": 0.5}}}, "mean_miou": 0.5})
        assert run.rows[-1]["test/mean_miou"] == 0.5
        monkeypatch.setattr("pin_memory.callbacks.wandb_media.wandb_run", lambda trainer: run)
        media = WandbMedia()
        for part in ("_picture", "_log_memory"):
            monkeypatch.setattr(media, part, no(error))
        trainer = tiny_trainer(tmp_path, [media])
        trainer.fit(TinyMethod(), TinyDomains())
        trainer.test(TinyMethod(), TinyDomains(), verbose=False)
        assert trainer.global_step > 0
        said = [text for text in warnings_of(caplog) if text.startswith("W&B")]
        assert len(said) == len(set(said)) == (1 if isinstance(error, ConnectionError) else 3)


def test_ctrl_c_in_a_call_of_wandb_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt):
        attempt("x", no(KeyboardInterrupt()))


def test_a_run_that_does_not_end_is_left_alone(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(wandb_module, "_FINISH_SECONDS", -9.9)  # and ten more
    monkeypatch.setattr(wandb_module, "_own_run", SimpleNamespace(finish=lambda: time.sleep(5)))
    start = time.perf_counter()
    finish_wandb()
    assert time.perf_counter() - start < 2
    (said,) = warnings_of(caplog)
    assert "left alone" in said


def test_a_guarded_run_is_otherwise_as_wandb_has_it() -> None:
    inner = SimpleNamespace(id="abc", name="old", summary={"a": 1}, log=lambda row, **options: (row, options))
    run = GuardedRun(inner)
    run.name = "new"
    run.summary["b"] = 2
    assert (run.id, inner.name, run.summary["a"], inner.summary["b"]) == ("abc", "new", 1, 2)
    assert run.log({"x": 1}, step=3) == ({"x": 1}, {"step": 3})
    assert not hasattr(run, "no_such_thing")


def test_what_lightnings_logger_cannot_convert_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    run = FakeRun()
    logger = GuardedLogger(experiment=GuardedRun(run))
    for _ in range(2):
        logger.log_image("picture", [object()])
        logger.log_table("table", columns=["a"], data=[["x", "y"]])
        logger.log_hyperparams({"x": Unprintable()})
        logger.log_metrics({"loss": 1.0}, step=3)
    logger.finalize("success")
    assert run.rows == [{"loss": 1.0, "trainer/global_step": 3}] * 2
    assert len(warnings_of(caplog)) == 3


@pytest.mark.parametrize("value", ["nonsense", "ONLINE!", "0"])
def test_a_mode_of_the_environment_that_is_none_is_offline(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", value)
    mode, why = wandb_mode()
    assert mode == "offline"
    assert value in why


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WANDB_BASE_URL", "nonsense"),
        ("WANDB_INIT_TIMEOUT", "soon"),
        ("WANDB_API_KEY", " "),
        ("WANDB_PROJECT", "a/b"),
        ("WANDB_SILENT", "so"),
    ],
)
def test_settings_of_the_environment_that_wandb_refuses_are_no_error(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb.teardown()  # which has read the environment
    monkeypatch.setenv(name, value)
    mode, why = wandb_mode()
    wandb.teardown()
    assert mode == "offline"
    assert "does not start" in why


def test_a_netrc_file_that_is_none_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    (tmp_path / ".netrc").write_bytes(b"\xff\xfe machine")
    assert wandb_mode()[0] == "offline"


@pytest.mark.parametrize("code", ["raise RuntimeError('other protobuf')", "import no_such_module", "raise AttributeError"])
def test_a_package_that_cannot_be_imported_leaves_the_metrics_file(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken" / "wandb").mkdir(parents=True)
    (tmp_path / "broken" / "wandb" / "__init__.py").write_text(code)
    for name in [name for name in sys.modules if name == "wandb" or name.startswith("wandb.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path / "broken")
    assert wandb_logger(tmp_path / "run", mode="online") is None
    assert len(warnings_of(caplog)) == 1
