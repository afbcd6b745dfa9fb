"""What every command shares: its configuration, and mistakes that are reported as one message."""

import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pin_memory.cli import explained, yaml_files
from pin_memory.cli.early import refuse_early
from pin_memory.cli.errors import Mistake, explain
from pin_memory.cli.quoting import expand_home
from pin_memory.cli.unread import refuse_unread
from pin_memory.runs.own_folder import keeping_records, remove_empty
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import DEFECT, FULL_ERROR, SharedMistakeError
from pin_memory.utils.processes import is_first
from pin_memory.utils.user import settle_user

INTERRUPTED = 130  # 128 + SIGINT, what a shell reports for Ctrl-C
BROKEN_PIPE = 141  # 128 + SIGPIPE
Task = Callable[[DictConfig], Any]


def command(config_name: str, prepare: Callable[[Sequence[str]], list[str]] = list) -> Callable[[Task], Callable[[], None]]:
    """Turn a function of the configuration into a command: `@command("predict")` for conf/predict.yaml.

    The command composes `<config_name>.yaml` with the command line, which `prepare` may complete before, refuses what has no value, what is
    not there, and keys that nothing reads, and calls the function. A user's mistake ends it with one message on stderr and exit code 2,
    Ctrl-C with 130; a defect keeps its traceback. With `HYDRA_FULL_ERROR=1` in the environment nothing is caught.
    """

    def decorate(function: Task) -> Callable[[], None]:
        kept = keeping_records(function)

        @functools.wraps(function)  # Hydra names the job after the wrapped function's module
        def task(cfg: DictConfig) -> Any:
            hydra_settings = HydraConfig.get()
            on_record = hydra_settings.mode == RunMode.MULTIRUN and config_name == "train"  # each job's mistakes are, with its results
            try:
                if not on_record or hydra_settings.job.num == 0:
                    refuse_mistakes(cfg, config_name)
            except Exception as error:
                if not on_record or isinstance(error, SharedMistakeError):
                    remove_empty(Path(hydra_settings.runtime.output_dir), cfg)
                    raise
            return kept(cfg)

        @functools.wraps(function)
        def main() -> None:
            _run(task, config_name, prepare)

        return main

    return decorate


def refuse_mistakes(cfg: DictConfig, config_name: str) -> None:
    """Refuse what can be refused before torch is imported: keys that nothing reads, what has no value, and what is not there."""
    refuse_unread(cfg, config_name)
    refuse_early(cfg, config_name)


def _run(task: Task, config_name: str, prepare: Callable[[Sequence[str]], list[str]]) -> None:
    """Start the command, and end it with the right exit code."""
    settle_user()
    OmegaConf.register_new_resolver("pin_memory.choices", explained.choices, replace=True)
    OmegaConf.register_new_resolver("pin_memory.settings", explained.settings, replace=True)
    if os.environ.get(FULL_ERROR) == "1":
        _start(functools.wraps(task)(_logging_its_end(task)), config_name, prepare)
        return
    try:
        with _full_error("1"):  # Hydra then raises its own errors instead of printing them with hints at tracebacks
            _start(_reported(task), config_name, prepare)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _end_interrupted()
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into exit code 1
            _end_interrupted()
        raise
    except _JobFailed as failure:
        sys.exit(failure.args[0])
    except Exception as error:
        _end(error)


class _JobFailed(Exception):  # noqa: N818 - it carries an exit code, the message is already out
    """One job of a sweep failed and its error has been shown; the sweep continues."""


def _start(task: Task, config_name: str, prepare: Callable[[Sequence[str]], list[str]]) -> None:
    """Call Hydra, which reads `sys.argv`; show the table of a sweep also when its launcher breaks or Ctrl-C ends it."""
    try:
        sys.argv[1:] = prepare(expand_home(sys.argv[1:]))
        yaml_files.install()
        hydra.main(version_base="1.3", config_path=str(config_directory()), config_name=config_name)(task)()
    except BaseException:
        from pin_memory.training.sweeps import SweepSummary  # which most commands never need

        SweepSummary.end_early()
        raise


def _reported(task: Task) -> Task:
    """Wrap the task so that an error is reported where it happens, before Hydra adds its own lines, and a sweep continues after it."""

    @functools.wraps(task)  # Hydra names the job after the wrapped function's module
    def job(cfg: DictConfig) -> Any:
        with _full_error(None):  # not for the processes that the task starts
            try:
                return task(cfg)
            except Exception as error:
                hydra_settings = HydraConfig.get()
                is_job = hydra_settings.mode == RunMode.MULTIRUN
                if is_job and not (isinstance(error, SharedMistakeError) and hydra_settings.job.num == 0):
                    raise _JobFailed(report_failure(error).exit_code) from error
                _log_end("command", error)
                _end(error)

    return job


def _logging_its_end(task: Task) -> Task:
    """Wrap the task so that the log file has the traceback of what ends it."""

    def logged(cfg: DictConfig) -> Any:
        try:
            return task(cfg)
        except Exception as error:
            _log_end("command", error)
            raise

    return logged


def report_failure(error: Exception) -> Mistake:
    """Show the error of one job of a sweep, a mistake as one message and a defect with its traceback, and return it in short.

    The job's own log has the traceback of either.
    """
    _log_end("job", error)
    mistake = explain(error)
    if mistake is None:
        traceback.print_exception(error)
        return Mistake(f"{type(error).__name__}: {error}", DEFECT)
    _print(f"Error: job #{HydraConfig.get().job.num} of the sweep: {mistake.message}")
    return mistake


def _end(error: Exception) -> NoReturn:
    """End the command with the message of a mistake; a defect is raised again."""
    mistake = explain(error)
    if mistake is None:
        raise error
    _print(f"Error: {mistake.message}")
    raise SystemExit(mistake.exit_code) from error


def _end_interrupted() -> NoReturn:
    if is_first():  # further processes of a run need not say it again
        _print("Stopped by Ctrl-C.")
        _write_to_log("Stopped by Ctrl-C.", logging.WARNING)
    sys.exit(INTERRUPTED)


@contextmanager
def _full_error(value: str | None) -> Iterator[None]:
    """Set Hydra's switch HYDRA_FULL_ERROR for a block; None removes it."""
    before = os.environ.pop(FULL_ERROR, None)
    os.environ.update({} if value is None else {FULL_ERROR: value})
    try:
        yield
    finally:
        os.environ.pop(FULL_ERROR, None)
        os.environ.update({} if before is None else {FULL_ERROR: before})


def _print(text: str) -> None:
    """Print the last words on stderr."""
    sys.stdout.flush()  # keeps the order of the two streams in a shared log
    print(text, file=sys.stderr)


def _log_end(what: str, error: Exception) -> None:
    """Write the traceback of what ended a command or a job to the log, and the words on the screen, where these are others."""
    mistake = explain(error)
    words = "" if mistake is None or mistake.message == str(error) else f" {mistake.message}"
    _write_to_log(f"What ended the {what}:{words}", logging.ERROR, error)


def _write_to_log(text: str, level: int, error: Exception | None = None) -> None:
    """Write to the run's log file, if there is one yet, with the traceback of an error; the screen shows a mistake in short."""
    logger = logging.getLogger(__name__)
    trace = (type(error), error, error.__traceback__) if error else None
    record = logger.makeRecord(logger.name, level, __file__, 0, text, (), trace)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler) and level >= handler.level:
            handler.handle(record)
