"""Where metrics go: a CSV file in the run folder and, where it is installed and configured, Weights & Biases.

Training never waits for W&B: without a key or a network the run is kept offline, and a server that stops answering cannot hold it.
"""

import csv
import importlib.util
import logging
import os
import ssl
import sys
import threading
import urllib.error
import urllib.request
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from pin_memory.errors import ConfigurationError
from pin_memory.files import atomic_write

log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")
_ALIASES = {"run": "online", "dryrun": "offline", "shared": "online"}  # other values that WANDB_MODE may have
_REACH_SECONDS = 2.0
_INIT_SECONDS = 20.0
_FINISH_SECONDS = 120.0


class CSVLogger(Logger):
    """Metrics as rows of one CSV file: `step`, `epoch`, and a column for each metric that was ever logged.

    Unlike Lightning's logger of this name it writes exactly the file it is given, and goes on with a file that is there already, so
    that a resumed run keeps its history.
    """

    def __init__(self, path: str | Path, flush_every: int = 20) -> None:
        """Set up the logger; nothing is written before the first metrics.

        Args:
            path: The file to write.
            flush_every: How many rows are collected before they are written.
        """
        super().__init__()
        self.path = Path(path)
        self.flush_every = flush_every
        self._rows: list[dict[str, float]] = []
        self._columns = self._existing_columns()

    @property
    def name(self) -> str:
        """Empty, so that Lightning makes no sub-folder."""
        return ""

    @property
    def version(self) -> str:
        """Empty, so that Lightning makes no sub-folder."""
        return ""

    @property
    def save_dir(self) -> str:
        """The folder of the file."""
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: a run's settings are kept in its `.hydra` folder."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Collect a row; metrics of the step that was logged last join its row."""
        row = {name: float(value) for name, value in metrics.items()}
        row["step"] = -1 if step is None else step
        last = self._rows[-1] if self._rows else {}
        if last.get("step") == row["step"] and not (last.keys() & row.keys()) - {"step", "epoch"}:
            last.update(row)
            return
        if len(self._rows) >= self.flush_every:
            self.save()
        self._rows.append(row)

    @rank_zero_only
    def save(self) -> None:
        """Write the collected rows."""
        if not self._rows:
            return
        columns = list(dict.fromkeys([*self._columns, *("step", "epoch"), *(key for row in self._rows for key in row)]))
        if columns != self._columns:
            self._rewrite(columns)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerows(self._plain(self._rows))
        self._rows = []

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()

    def _existing_columns(self) -> list[str]:
        if not self.path.is_file():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return next(csv.reader(file), [])

    def _rewrite(self, columns: list[str]) -> None:
        """Give the file a header with new columns; its rows stay."""
        rows: list[dict[str, str]] = []
        if self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        with atomic_write(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")  # a row cut short by a crash must not stop the next run
            writer.writeheader()
            writer.writerows(rows)
        self._columns = columns

    @staticmethod
    def _plain(rows: list[dict[str, float]]) -> Iterator[dict[str, float]]:
        """Whole numbers without a decimal point."""
        for row in rows:
            yield {name: int(value) if name in ("step", "epoch") else value for name, value in row.items()}


def wandb_logger(
    save_dir: str | Path,
    project: str = "pin_memory",
    name: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    tags: Sequence[str] = (),
    mode: str = "auto",
) -> WandbLogger | None:
    """Make a W&B logger that keeps its files in `<save_dir>/wandb`, uploads no code and never asks for anything.

    Args:
        save_dir: The run folder.
        project: The project that the run belongs to.
        name: The run's name; W&B invents one if None.
        group: The group that runs are compared in, normally the experiment's name.
        job_type: The kind of run ("train").
        tags: Labels to filter runs by.
        mode: "auto" (the environment variable WANDB_MODE if set; else online with an API key and a reachable server, offline
            otherwise), "online" (as soon as there is a key), "offline" or "disabled".

    Returns:
        The logger, or None where W&B is disabled or not installed.

    Raises:
        ConfigurationError: If the mode is none of these.
    """
    mode, reason = wandb_mode(mode)
    if getattr(rank_zero_only, "rank", 0) == 0:
        log.info("W&B: %s (%s)", mode, reason)
    if mode == "disabled":
        return None
    import wandb

    Path(save_dir).mkdir(parents=True, exist_ok=True)  # W&B turns to a temporary folder where there is none
    settings: dict[str, Any] = {
        "silent": True,
        "console": "off",
        "save_code": False,
        "disable_code": True,
        "disable_git": True,
        "init_timeout": _INIT_SECONDS,
    }
    if "finish_timeout" in wandb.Settings.model_fields:  # newer than our version floor; what is not uploaded then stays on disk
        settings["finish_timeout"] = _FINISH_SECONDS
    return _PatientWandbLogger(
        name=name, project=project, save_dir=str(save_dir), group=group, job_type=job_type, tags=list(tags), mode=mode,
        settings=wandb.Settings(**settings),
    )  # fmt: skip


def wandb_mode(mode: str = "auto") -> tuple[str, str]:
    """Decide between online, offline and disabled.

    Args:
        mode: One of `MODES`.

    Returns:
        The mode and the reason in a few words.

    Raises:
        ConfigurationError: If the mode is none of `MODES`.
    """
    source = "logger.wandb.mode"
    if mode == "auto" and os.environ.get("WANDB_MODE"):
        mode, source = os.environ["WANDB_MODE"], "WANDB_MODE"
        mode = _ALIASES.get(mode, mode)
    if mode not in MODES:
        raise ConfigurationError(f"Unknown W&B mode '{mode}' in {source}; choose one of: {', '.join(MODES)}.")
    if importlib.util.find_spec("wandb") is None:
        return "disabled", "the package wandb is not installed"
    if mode in ("offline", "disabled"):
        return mode, f"set by {source}"
    url = _server()
    if not _has_key(url):
        return "offline", "no API key found: `wandb login` stores one, `wandb sync` uploads the run later"
    if mode == "online":
        return "online", f"set by {source}"
    if not _answers(url, _REACH_SECONDS):
        return "offline", f"no answer from {urlsplit(url).netloc}; `wandb sync` uploads the run later"
    return "online", "API key found and server reached"


def finish_wandb() -> None:
    """End the W&B run, if there is one; for a `finally`, so that the next job of a sweep starts its own."""
    wandb = sys.modules.get("wandb")  # what was never imported has no run
    if wandb is not None and wandb.run is not None:
        wandb.finish()


class _PatientWandbLogger(WandbLogger):
    """Goes offline when the server refuses or does not answer as the run starts."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._wandb_init.pop("anonymous", None)  # W&B warns about this retired option even when it is None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, started at the first use."""
        import wandb

        started = self._experiment is not None
        try:
            run = self._start()
        except (wandb.errors.Error, OSError) as error:
            log.info("W&B: offline (%s); `wandb sync` uploads the run later", str(error).partition("\n")[0])
            self._wandb_init["mode"] = "offline"
            run = self._start()
        if not started and self._wandb_init["mode"] == "online":
            log.info("W&B: %s", run.url)
        return run

    def _start(self) -> Any:
        with _as_logged():
            return super().experiment


@contextmanager
def _as_logged() -> Iterator[None]:
    """Keep WANDB_MODE of the environment from overruling the mode that was decided and told."""
    before = os.environ.pop("WANDB_MODE", None)
    try:
        yield
    finally:
        if before is not None:
            os.environ["WANDB_MODE"] = before


def _server() -> str:
    """The address of the W&B server: environment, then the user's W&B settings, then W&B's own default."""
    import wandb

    return os.environ.get("WANDB_BASE_URL") or str(wandb.setup().settings.base_url)


def _has_key(url: str) -> bool:
    """Whether W&B would find credentials without asking: environment, its settings, or the user's netrc file."""
    import wandb

    settings = wandb.setup().settings
    if os.environ.get("WANDB_API_KEY") or settings.api_key or getattr(settings, "identity_token_file", None):
        return True
    for file in (os.environ.get("NETRC"), Path.home() / ".netrc", Path.home() / "_netrc"):
        if file and Path(file).is_file():
            try:
                found = netrc(str(file)).authenticators(urlsplit(url).netloc)
            except (NetrcParseError, OSError):
                continue
            if found and found[2]:
                return True
    return False


def _answers(url: str, seconds: float) -> bool:
    """Whether anything answers at the address, through the user's proxy if there is one.

    In a thread of its own, since looking up a name can take far longer than any timeout of the connection.
    """
    answers: list[bool] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=seconds):
                answers.append(True)
        except urllib.error.HTTPError:
            answers.append(True)  # an error page is an answer
        except urllib.error.URLError as error:
            answers.append(isinstance(error.reason, ssl.SSLError))  # W&B may know the certificate that we do not
        except (OSError, ValueError):
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds + 1)
    return bool(answers and answers[0])
