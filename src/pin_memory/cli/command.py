"""What every command shares: where the configuration lies, and mistakes told in plain words.

A command is a function of the composed configuration:

    @command("predict")  # conf/predict.yaml
    def main(cfg: DictConfig) -> None: ...
"""

import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pin_memory.cli.mistakes import Mistake, explain, suggest
from pin_memory.cli.own_settings import check_own_settings
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import DEFECT, FULL_ERROR
from pin_memory.utils.processes import is_first

INTERRUPTED = 130  # 128 + SIGINT, what a shell reports for Ctrl-C
BROKEN_PIPE = 141  # 128 + SIGPIPE


def command(
    config_name: str, prepare: Callable[[Sequence[str]], list[str]] | None = None
) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Turn a function of the configuration into a command.

    The command composes `<config_name>.yaml` with the overrides on the command line and calls the function. A user's mistake ends it
    with one message on stderr and exit code 2, Ctrl-C with 130; a defect keeps its traceback. With `HYDRA_FULL_ERROR=1` in the
    environment nothing is caught.

    Args:
        config_name: A file of the configuration folder, without its suffix.
        prepare: Completes the command line before Hydra reads it.
    """

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @functools.wraps(task)
        def main() -> None:
            OmegaConf.register_new_resolver("pin_memory.choices", _choices, replace=True)
            if os.environ.get(FULL_ERROR) == "1":
                _start(task, config_name, prepare)
                return
            with _told(config_name), _summed_up():
                _start(_job(task), config_name, prepare)

        return main

    return decorate


class _Told(Exception):  # noqa: N818 - it carries an exit code, the message is already out
    """One job of a sweep failed and its error has been shown; the sweep goes on."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def _start(task: Callable[[DictConfig], Any], config_name: str, prepare: Callable[[Sequence[str]], list[str]] | None) -> None:
    """Hand over to Hydra, which reads `sys.argv`."""
    check_own_settings(sys.argv[1:])
    if prepare is not None:
        sys.argv[1:] = prepare(sys.argv[1:])
    hydra.main(version_base="1.3", config_path=str(config_directory()), config_name=config_name)(task)()


def _job(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Wrap the task so that a mistake is told where it happens, before Hydra adds its own lines to it."""

    @functools.wraps(task)  # Hydra names the job after the wrapped function's module
    def job(cfg: DictConfig) -> Any:
        full_error = os.environ.pop(FULL_ERROR, None)  # not for the processes that the task starts
        try:
            return task(cfg)
        except Exception as error:
            _end_job(error, explain(error))
        finally:
            if full_error is not None:
                os.environ[FULL_ERROR] = full_error

    return job


def _end_job(error: Exception, mistake: Mistake | None) -> NoReturn:
    """End a command at once; in a sweep report the failure now (Hydra shows only the first one, at the end) and let the other jobs run."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        raise _Told(report_failure(error).exit_code) from error
    if mistake is None:
        raise error
    _tell(mistake)
    raise SystemExit(mistake.exit_code) from error


def report_failure(error: Exception) -> Mistake:
    """Show the error of one job of a sweep: a user's mistake as one message, a defect with its traceback.

    Returns:
        The message in short and the exit code.
    """
    mistake = explain(error)
    if mistake is None:
        traceback.print_exception(error)
        return Mistake(f"{type(error).__name__}: {error}", DEFECT)
    _tell(mistake, where=f"job #{HydraConfig.get().job.num} of the sweep: ")
    return mistake


@contextmanager
def _summed_up() -> Iterator[None]:
    """Show the table of a sweep also when its launcher breaks or Ctrl-C ends it."""
    try:
        yield
    except BaseException:
        if sweeping := sys.modules.get("pin_memory.training.sweeps.summary"):  # what was never imported has no sweep
            sweeping.SweepSummary.end_early()
        raise


@contextmanager
def _told(config_name: str) -> Iterator[None]:
    """Turn what leaves Hydra into a message and an exit code."""
    before = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"  # Hydra then raises its own errors instead of printing them with hints at tracebacks
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        _interrupted()
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into exit code 1
            _interrupted()
        raise
    except _Told as told:
        sys.exit(told.exit_code)
    except Exception as error:
        mistake = explain(error)
        if mistake is None:
            raise
        _tell(mistake)
        if isinstance(error, HydraException) and (near := suggest(error, config_directory(), config_name)):
            print(f"Did you mean {' or '.join(near)}?", file=sys.stderr)
        sys.exit(mistake.exit_code)
    finally:
        os.environ.pop(FULL_ERROR, None)
        if before is not None:
            os.environ[FULL_ERROR] = before


def _interrupted() -> None:
    if is_first():  # further processes of a run need not say it again
        _say("Stopped by Ctrl-C.", logging.WARNING)
    sys.exit(INTERRUPTED)


def _tell(mistake: Mistake, where: str = "") -> None:
    _say(f"Error: {where}{mistake.message}", logging.ERROR)


def _say(text: str, level: int) -> None:
    """Print the last words on stderr, and write them to the run's log file, if there is one yet."""
    sys.stdout.flush()  # keeps the order of the two streams in a shared log
    print(text, file=sys.stderr)
    logger = logging.getLogger(__name__)
    record = logger.makeRecord(logger.name, level, __file__, 0, text.removeprefix("Error: "), (), None)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler) and level >= handler.level:  # the console's handler would say it again
            handler.handle(record)


def _choices() -> str:
    """The groups that this command's defaults list names, one line each with their options (a resolver of the `--help` template)."""
    chosen: dict[str, set[str]] = {}
    for key, option in HydraConfig.get().runtime.choices.items():
        group = str(key).partition("@")[0]
        if group != "hydra" and not group.startswith("hydra/"):
            chosen.setdefault(group, set()).add(str(option))
    loader = GlobalHydra.instance().config_loader()
    lines = []
    for group in sorted(chosen):
        options = [option for option in loader.get_group_options(group) if not option.startswith("_")]
        lines.append(f"{group}: " + ", ".join(f"{option}*" if option in chosen[group] else option for option in sorted(options)))
    return "\n".join(lines) or "(none: this command has settings only)"
