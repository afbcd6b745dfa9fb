"""Which exceptions are a user's mistake, and what to say about each.

Everything that `explain` does not know is a defect and keeps its traceback.
"""

import difflib
import errno
import functools
import re
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, InstantiationException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from pin_memory.cli.exhausted import EXIT_CODE as EXHAUSTED
from pin_memory.cli.exhausted import exhausted
from pin_memory.utils.errors import UserError

_WHERE = "HYDRA_FULL_ERROR=1 before the command shows where it happened."
_ANOTHER_FOLDER = "choose another folder for what is written (paths.output=DIR; output=DIR where the command has that setting)"
_OS_REASONS = {
    errno.ENOSPC: ("the disk is full", f"Free some space or {_ANOTHER_FOLDER}."),
    errno.EDQUOT: ("your disk quota is used up", f"Free some space or {_ANOTHER_FOLDER}."),
    errno.EACCES: ("you have no permission", f"Change the permissions or {_ANOTHER_FOLDER}."),
    errno.EPERM: ("the operation is not permitted", f"Change the permissions or {_ANOTHER_FOLDER}."),
    errno.EROFS: ("the file system is read-only", f"Mount it writable or {_ANOTHER_FOLDER}."),
    errno.ENOTDIR: ("a part of this path is a file, not a folder", f"Move that file or {_ANOTHER_FOLDER}."),
    errno.ENAMETOOLONG: ("a name in it is too long", f"Shorten it or {_ANOTHER_FOLDER}."),
    errno.EEXIST: ("a file of this name is in the way", f"Move that file or {_ANOTHER_FOLDER}."),
}
_FOLDER_MAKERS = (["mkdir"], ["makedirs"])  # innermost function
_DEAD_JOBS = ("UncompletedJobError", "TerminatedWorkerError")  # of submitit and joblib; by name, to import them nowhere
_CONSTRUCTORS = ("__init__", "__post_init__", "__new__")
_HYDRA_CALLS = ("_call_target", "_call_with_target_policy")  # Hydra's functions that call a target, at once or later (`_partial_`)


class Mistake(NamedTuple):
    """What to tell the user, and the exit code of the command."""

    message: str
    exit_code: int = UserError.exit_code


def explain(error: BaseException) -> Mistake | None:
    """Say what a user did wrong.

    Args:
        error: What a command raised; its causes are looked at too, since Hydra and the data loaders wrap exceptions.

    Returns:
        The message and exit code, or None if the error is not known to be a user's mistake.
    """
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, UserError):
            return Mistake(_from_worker(link), link.exit_code)
    if isinstance(error, HydraException) and not isinstance(error, InstantiationException):
        return Mistake(_composition(error))
    if dead := next((link for link in chain if type(link).__name__ in _DEAD_JOBS), None):
        return Mistake(_dead_job(dead), exit_code=1)
    for link in chain:
        if message := exhausted(link, _from_worker(link)):
            return Mistake("\n".join([message, *_notes(chain)]), EXHAUSTED)
    for link in chain:
        message = _storage(link) or _setting(link)
        if message:
            return Mistake(message)
    if next((link for link in chain if isinstance(link, RecursionError) and _in_settings(link)), None):
        return Mistake("The settings are nested too deeply; no setting of this library needs more than a few levels of brackets.")
    return None


def suggest(error: HydraException, config_directory: Path, config_name: str) -> list[str]:
    """Find settings, groups or options that look like the misspelt one in Hydra's error.

    Args:
        error: What composing the configuration raised.
        config_directory: The folder of YAML files.
        config_name: The command's configuration, without suffix.

    Returns:
        At most three, the likeliest first; none if the error is about something else.
    """
    wrong = re.search(r"Could not (?:override|find) '([^']+)'", str(error))
    if not wrong:
        return []
    with suppress(Exception):  # only a hint: whatever keeps it from being made must not hide the message
        return _near(wrong[1], config_directory, config_name)
    return []


def _near(wrong: str, config_directory: Path, config_name: str) -> list[str]:
    group, _, option = wrong.rpartition("/")
    if group and (config_directory / group).is_dir():
        options = [file.stem for file in (config_directory / group).glob("*.yaml") if not file.stem.startswith("_")]
        return [f"{group}={near}" for near in difflib.get_close_matches(option, options)]
    with initialize_config_dir(str(config_directory), version_base="1.3"):
        cfg = compose(config_name)
    groups = [folder.name for folder in config_directory.iterdir() if folder.is_dir()]
    keys = [*_keys(OmegaConf.to_container(cfg)), *groups]
    same_end = [key for key in keys if key.endswith(f".{wrong}")]
    same_kind = [key for key in keys if ("." in key) == ("." in wrong)]
    return list(dict.fromkeys(same_end + difflib.get_close_matches(wrong, same_kind)))[:3]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, then what it was raised from or while handling, outermost first."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _notes(chain: list[BaseException]) -> list[str]:
    """What was added to the exceptions on their way: the iteration and the samples."""
    return list(dict.fromkeys(note for link in chain for note in getattr(link, "__notes__", ())))


def _in_settings(error: BaseException) -> bool:
    """Whether it was raised where settings are read."""
    return any(_module(frame).partition(".")[0] in ("hydra", "omegaconf", "antlr4", "yaml") for frame in _frames(error)[-20:])


def _from_worker(error: BaseException) -> str:
    """The message alone, where a data loader's worker has put its whole traceback into the text."""
    text = str(error)
    if not text.startswith("Caught "):
        return text
    starts = list(re.finditer(rf"^(?:\w+\.)*{type(error).__name__}: ", text, re.MULTILINE))
    return text[starts[-1].end() :].rstrip() if starts else text


def _dead_job(error: BaseException) -> str:
    """A job of a sweep whose process ended before it could tell why; not the job's own errors, which the job tells itself."""
    first = str(error).partition("\n")[0]
    return (
        f"A job's process ended without a word: killed, out of memory or at the time limit ({type(error).__name__}: {first})."
        " The same command goes on with the jobs that are not finished."
    )


def _storage(error: BaseException) -> str | None:
    """A disk that is full, or a path that cannot be used."""
    text = _from_worker(error)
    if isinstance(error, RuntimeError) and "inline_container.cc" in text and ("unexpected pos" in text or "failed writing" in text):
        return f"A checkpoint cannot be written; most likely the disk is full. Free some space or {_ANOTHER_FOLDER}."
    if not isinstance(error, OSError):
        return None
    in_text = re.match(r"\[Errno (\d+)\]", text)  # a worker's copy of an OSError carries its number only in the text
    number = error.errno or (int(in_text[1]) if in_text else None)
    path = error.filename2 or error.filename
    if number == errno.ENOENT and [frame.f_code.co_name for frame in _frames(error)][-1:] in _FOLDER_MAKERS:  # else it may be a defect
        return f"Cannot make the folder {path}: no folder can be made there. Please {_ANOTHER_FOLDER}."
    if number not in _OS_REASONS:
        return None
    reason, advice = _OS_REASONS[number]
    subject = f"Cannot use {path}" if path else f"Cannot read or write a file ({text})"
    return f"{subject}: {reason}. {advice}"


def _setting(error: BaseException) -> str | None:
    """A setting that is missing, cannot be worked out, or does not fit the class that it is for."""
    if isinstance(error, MissingMandatoryValue):
        key = error.full_key or str(error)
        return f"The setting `{key}` has no value; give it on the command line: {key}=..."
    if isinstance(error, OmegaConfBaseException):
        return f"{error}\n{_WHERE}"
    if isinstance(error, yaml.YAMLError) or (isinstance(error, ValueError) and _innermost(error).startswith("yaml.")):
        return f"A YAML file cannot be read: {error}\nEach key once, spaces in place of tabs, plain values, no tags (!!...)."
    if type(error).__name__ == "MisconfigurationException":  # Lightning's word for a setting of its Trainer; by name, to import it nowhere
        return f"The Trainer refuses its settings: {error}"
    if isinstance(error, InstantiationException):
        return f"{error}\n{_WHERE}" if "Error locating target" in str(error) else None
    return _misfit(error) if isinstance(error, (TypeError, ValueError, RuntimeError, ArithmeticError)) else None


def _misfit(error: BaseException) -> str | None:
    """Settings that the target they are for refuses: by its signature, or in its constructor.

    A constructor's complaint is about its arguments as long as no function of this package but constructors was at work; what such a
    function raises may be a defect of its own.
    """
    frames = _frames(error)
    calls = [index for index, frame in enumerate(frames) if _module(frame).startswith("hydra.") and frame.f_code.co_name in _HYDRA_CALLS]
    if not calls:
        return None
    target, settings, key = _called(frames[calls[-1]])
    below = frames[calls[-1] + 1 :]
    ours = [frame for frame in below if _module(frame).partition(".")[0] == __package__]
    if below and not (isinstance(target, type) and all(frame.f_code.co_name in _CONSTRUCTORS for frame in ours)):
        return None
    given = ", ".join(f"{name}={value!r}" for name, value in settings.items() if isinstance(value, (str, int, float)))
    where = f" under `{key}`" if key else ""
    return f"The settings{where} do not fit {getattr(target, '__qualname__', target)}: {error}\nGiven: {given or 'nothing'}.\n{_WHERE}"


def _called(frame: FrameType) -> tuple[Any, dict[str, Any], str]:
    """What Hydra calls in this frame: the target, its settings, and their place in the configuration."""
    names = frame.f_locals
    if isinstance(deferred := names.get("self"), functools.partial):
        return deferred.func, deferred.keywords, getattr(deferred, "_hydra_full_key", "")
    return names.get("_target_"), names.get("kwargs", {}), names.get("full_key", "")


def _frames(error: BaseException) -> list[FrameType]:
    """The calls that led from where the error was caught to where it was raised."""
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


def _innermost(error: BaseException) -> str:
    """The module that raised it."""
    frames = _frames(error)
    return _module(frames[-1]) if frames else ""


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _composition(error: HydraException) -> str:
    """Hydra's own words, and OmegaConf's below them, as Hydra itself prints them."""
    cause = error.__cause__
    return f"{error}\n{cause}" if isinstance(cause, OmegaConfBaseException) else str(error)


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted key of a nested dictionary."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")
