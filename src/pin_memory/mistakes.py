"""Which exceptions are a user's mistake, and what to say about each.

Everything that `explain` does not know is a defect and keeps its traceback.
"""

import difflib
import errno
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, InstantiationException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from pin_memory.errors import UserError

_WHERE = "HYDRA_FULL_ERROR=1 before the command shows where it happened."
_ANOTHER_FOLDER = "choose another folder for what is written (paths.output=DIR; output=DIR where the command has that setting)"
_OS_REASONS = {
    errno.ENOSPC: ("the disk is full", f"Free some space or {_ANOTHER_FOLDER}."),
    errno.EDQUOT: ("your disk quota is used up", f"Free some space or {_ANOTHER_FOLDER}."),
    errno.EACCES: ("you have no permission", f"Change the permissions or {_ANOTHER_FOLDER}."),
    errno.EPERM: ("the operation is not permitted", f"Change the permissions or {_ANOTHER_FOLDER}."),
    errno.EROFS: ("the file system is read-only", f"Mount it writable or {_ANOTHER_FOLDER}."),
    errno.ENOTDIR: ("a part of this path is a file, not a folder", f"Move that file or {_ANOTHER_FOLDER}."),
    errno.EEXIST: ("a file of this name is in the way", f"Move that file or {_ANOTHER_FOLDER}."),
}


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
    for link in chain:
        message = _storage(link) or _setting(link)
        if message:
            return Mistake(message)
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


def _from_worker(error: BaseException) -> str:
    """The message alone, where a data loader's worker has put its whole traceback into the text."""
    text = str(error)
    if not text.startswith("Caught "):
        return text
    starts = list(re.finditer(rf"^(?:\w+\.)*{type(error).__name__}: ", text, re.MULTILINE))
    return text[starts[-1].end() :].rstrip() if starts else text


def _storage(error: BaseException) -> str | None:
    """A disk that is full, or a path that cannot be used."""
    text = _from_worker(error)
    if isinstance(error, RuntimeError) and "inline_container.cc" in text and ("unexpected pos" in text or "failed writing" in text):
        return f"A checkpoint cannot be written; most likely the disk is full. Free some space or {_ANOTHER_FOLDER}."
    if not isinstance(error, OSError):
        return None
    in_text = re.match(r"\[Errno (\d+)\]", text)  # a worker's copy of an OSError carries its number only in the text
    number = error.errno or (int(in_text[1]) if in_text else None)
    if number not in _OS_REASONS:
        return None
    reason, advice = _OS_REASONS[number]
    path = error.filename2 or error.filename
    subject = f"Cannot use {path}" if path else f"Cannot read or write a file ({text})"
    return f"{subject}: {reason}. {advice}"


def _setting(error: BaseException) -> str | None:
    """A setting that is missing, cannot be worked out, or does not fit the class that it is for."""
    if isinstance(error, MissingMandatoryValue):
        key = error.full_key or str(error)
        return f"The setting `{key}` has no value; give it on the command line: {key}=..."
    if isinstance(error, OmegaConfBaseException):
        return f"{error}\n{_WHERE}"
    if type(error).__name__ == "MisconfigurationException":  # Lightning's word for a setting of its Trainer; by name, to import it nowhere
        return f"The Trainer refuses its settings: {error}"
    if not isinstance(error, InstantiationException):
        return None
    cause = error.__cause__
    # A TypeError without a frame below the call is about the arguments, that is, about the settings.
    misfit = isinstance(cause, TypeError) and cause.__traceback__ is not None and cause.__traceback__.tb_next is None
    unknown = "Error locating target" in str(error)
    return f"{error}\n{_WHERE}" if misfit or unknown else None


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
