"""Which exceptions are a user's mistake or a machine that does not suffice, and the message for each; all others are defects."""

import difflib
import errno
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    GrammarParseError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from pin_memory.cli.own_code import in_own_code, not_found
from pin_memory.cli.quoting import escaped, for_shell, literal, parsed_value
from pin_memory.cli.unread import arguments, no_such_setting
from pin_memory.utils.config import config_directory, plain
from pin_memory.utils.errors import ResourceError, UserError, first_names

_WHERE = "HYDRA_FULL_ERROR=1 before the command shows where it happened."
_ELSEWHERE = "choose another folder for what is written (paths.output=DIR; output=DIR where the command has that setting)"
_WRITING = {
    errno.ENOSPC: ("the disk is full", "Free some space"),
    errno.EDQUOT: ("your disk quota is used up", "Free some space"),
    errno.EROFS: ("the file system is read-only", "Mount it writable"),
    errno.EEXIST: ("a file of this name is in the way", "Move that file"),
}
_READING_OR_WRITING = {
    errno.EACCES: ("you have no permission", "Change the permissions"),
    errno.EPERM: ("the operation is not permitted", "Change the permissions"),
    errno.ENOTDIR: ("a part of this path is a file, not a folder", "Move that file"),
    errno.ENAMETOOLONG: ("a name in it is too long", "Shorten it"),
}
_CALLS_THAT_WRITE = {
    "atomic_write", "write_text", "write_bytes", "mkdir", "makedirs", "touch", "rename", "replace", "unlink", "rmdir", "rmtree",
    "symlink_to", "begin", "_open", "_mkstemp_inner", "save", "savez", "imwrite", "exclusive", "report_write_errors",
}  # fmt: skip
"""Functions of Python's, logging's and this library's, by name, that an error on the way to a written file passes through."""
_DEAD_JOBS = ("UncompletedJobError", "TerminatedWorkerError")  # of submitit and joblib; by name, to import them nowhere

_NOT_LOCATED = re.compile(r"Error locating target '(.+)', set env.*(?:\nfull_key: (.+))?")  # Hydra's words

_NEARLY = 0.85  # likeness of two names, from which one is taken for the other misspelt
_IN_TRAINING = "In training lower loading.batch_size or augmentation.crop_size"
_RESOURCES = (
    (
        r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|HIP out of memory|STATUS_ALLOC_FAILED",
        "The GPU's memory does not suffice",
        f"{_IN_TRAINING}, or save memory with trainer.precision=bf16-mixed or network.backbone.checkpointing=true. In evaluation and"
        " prediction process less at once: loading.evaluation_batch_size=1, batch_size=1, protocol=sliding_768.",
    ),
    (
        r"(out of|unable to open|unable to allocate) shared memory|</torch_|/dev/shm",
        "The shared memory does not suffice",
        "Loading processes pass their images on through /dev/shm: make it larger (docker run --shm-size=8g or --ipc=host), or lower"
        " loading.num_workers or loading.batch_size.",
    ),
    (
        r"DataLoader worker \(pid(\(s\))? [\d, ]+\) (exited unexpectedly|is killed by signal)",
        "A loading process ended without a message",
        "Most often the machine ran out of memory and its kernel killed the process (`dmesg` shows it): lower loading.num_workers,"
        " loading.batch_size or augmentation.crop_size. With loading.num_workers=0 everything is loaded in the process itself, whose"
        " message says what is wrong. A file that crashes the decoder shows the same way: `pin-memory check deep=true` finds it.",
    ),
    (
        r"MemoryError|[Cc]an(not|'t) allocate memory|not enough memory|std::bad_alloc|Insufficient memory",
        "The memory of this machine does not suffice",
        f"{_IN_TRAINING}, and loading.num_workers (each loading process holds images of its own); close other programs, or ask the cluster"
        " for more memory. In prediction lower batch_size and workers.",
    ),
    (
        r"Too many open files|received 0 items of ancdata",
        "Too many files are open",
        "Allow more of them (ulimit -n 65536) or lower loading.num_workers.",
    ),
    (
        r"can't start new thread|Resource temporarily unavailable",
        "No further process or thread can be started",
        "Lower loading.num_workers, or allow more (ulimit -u).",
    ),
)


class Mistake(NamedTuple):
    """A message for the user, and the exit code of the command."""

    message: str
    exit_code: int = UserError.exit_code


def explain(error: BaseException) -> Mistake | None:
    """Find the message for what a command raised, or for one of its causes, as Hydra and data loaders wrap exceptions; None: a defect."""
    chain = list(_chain(error))
    for place, link in enumerate(chain):
        if isinstance(link, UserError):
            reason = in_own_code([cause for cause in chain[place + 1 :] if not isinstance(cause, UserError)])
            return Mistake("\n".join([_text(link), *([reason] if reason else [])]), link.exit_code)
    if isinstance(error, HydraException) and not isinstance(error, InstantiationException):
        if advice := _quoting(error):
            return Mistake(advice)
        cause = error.__cause__
        if isinstance(cause, ConfigAttributeError | ConfigKeyError) and isinstance(cause.parent_node, DictConfig) and cause.full_key:
            return Mistake(_no_such_key(str(error), cause.full_key, str(cause.key), cause.parent_node))
        return Mistake(f"{error}\n{cause}" if isinstance(cause, OmegaConfBaseException) else str(error))
    for link in chain:
        if message := _resource(link):
            return Mistake("\n".join([message, *_notes(chain)]), ResourceError.exit_code)
    for link in chain:
        if type(link).__name__ in _DEAD_JOBS:  # a job that could not report anything; it reports its own errors itself
            first = str(link).partition("\n")[0]
            return Mistake(
                "A job's process ended without a message: killed, out of memory or at the time limit"
                f" ({type(link).__name__}: {first}). The same command resumes the jobs that are not finished.",
                exit_code=1,
            )
        if message := _storage(link):
            return Mistake(message)
    for link in chain:
        if not isinstance(link, InstantiationException) and (message := _setting(link)):
            return Mistake(message)
    if message := in_own_code(chain):
        return Mistake("\n".join([message, *_notes(chain), _WHERE]))
    for link in chain:
        if message := _setting(link):
            return Mistake(message)
    return None


def _notes(chain: Sequence[BaseException]) -> list[str]:
    """What was noted on the errors on their way: the iteration and its samples."""
    return list(dict.fromkeys(note for link in chain for note in getattr(link, "__notes__", ())))


def _quoting(error: HydraException) -> str | None:
    """How a value is typed that Hydra reads otherwise than it is meant; None where that is not the fault."""
    given = sys.argv[1:]
    if isinstance(error, OverrideParseException):
        place = given.index(error.override) if error.override in given else 0
        return literal(error.override, given[place - 1] if place else None)
    ambiguous = next((argument for argument in given if str(error).startswith(f"Ambiguous value for argument '{argument}'")), "")
    if not ambiguous or not (advice := literal(ambiguous)):
        return None
    key, _, value = ambiguous.partition("=")
    return f"{advice}\nA list is {for_shell(f'{key}=[{value}]')}; several runs, one with each value, are a sweep: add -m."


def _no_such_key(text: str, full_key: str, key: str, place: DictConfig) -> str:
    """What to give instead of an override that the composed settings have no place for."""
    names: set[str] = {str(name) for name in place if not str(name).startswith("_")}
    listed = difflib.get_close_matches(key, names, 1, _NEARLY)
    if "_target_" in place and not listed:  # only the class knows, and importing it takes seconds
        taken = arguments(place._target_) or set()
        if key in taken:
            advice = re.search(r"use (\+.*)", text)  # Hydra's, which it gives for misspelt keys, too
            typed = advice[1] if advice else f"+{full_key}=..."
            return f"The YAML file does not list the option {full_key}; add it with a plus sign: {typed}"
        names |= taken
    if key == full_key:  # one at the top may be a misspelt group
        names |= {folder.name for folder in config_directory().iterdir() if folder.is_dir()}
    elsewhere = {name: value for name, value in plain(place._get_root()).items() if name != "hydra"}
    hint = f" An option that the YAML file does not list takes a plus sign: +{full_key}=..." if listed and "_target_" in place else ""
    return no_such_setting(full_key, names, elsewhere) + hint


def _no_option() -> str | None:
    """Which argument names no option of its group, but gives a number or a truth value."""
    for argument in sys.argv[1:]:
        group, _, value = argument.lstrip("+").partition("=")
        folder = config_directory() / group.partition("@")[0]
        if value and folder.is_dir() and group and not isinstance(parsed_value(argument), str | list):
            options = first_names(sorted(path.stem for path in folder.glob("*.yaml") if not path.name.startswith("_")), 30)
            return f"{argument}: expected the name of an option of {group}: {options}."
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, then what it was raised from or while handling, outermost first."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _text(error: BaseException) -> str:
    """The message alone, where a data loader's worker has put its traceback into the text."""
    text = str(error)
    if not text.startswith("Caught "):
        return text
    starts = list(re.finditer(rf"^(?:\w+\.)*{type(error).__name__}: ", text, re.MULTILINE))
    return text[starts[-1].end() :].rstrip() if starts else text


def _resource(error: BaseException) -> str | None:
    """What ran out, and which settings to lower."""
    if not isinstance(error, RuntimeError | OSError | MemoryError) and not type(error).__module__.startswith("cv2"):
        return None
    text = " ".join(f"{type(error).__name__}: {_text(error)}".split())
    for pattern, reason, advice in _RESOURCES:
        if re.search(pattern, text):
            training = HydraConfig.initialized() and HydraConfig.get().job.config_name == "train"
            resume = "\nA checkpoint that was written before is intact; resume=RUN continues from it." if training else ""
            return f"{reason} ({text[:300]}).\n{advice}{resume}"
    return None


def _storage(error: BaseException) -> str | None:
    """A disk that is full, or a path that cannot be used."""
    text = _text(error)
    if isinstance(error, RuntimeError) and "inline_container.cc" in text and ("unexpected pos" in text or "failed writing" in text):
        return f"A checkpoint cannot be written; most likely the disk is full. Free some space or {_ELSEWHERE}."
    if not isinstance(error, OSError):
        return None
    in_text = re.match(r"\[Errno (\d+)\]", text)  # a worker's copy of an OSError carries its number only in the text
    number, path = error.errno or (int(in_text[1]) if in_text else 0), error.filename2 or error.filename
    calls = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    if number == errno.ENOENT and calls[-1:] in (["mkdir"], ["makedirs"]):  # else it may be a defect
        return f"Cannot make the folder {path}: no folder can be made there. Please {_ELSEWHERE}."
    if number in _WRITING:
        reason, advice = _WRITING[number]
        return f"Cannot write {path or f'a file ({text})'}: {reason}. {advice} or {_ELSEWHERE}."
    if number not in _READING_OR_WRITING:
        return None
    reason, advice = _READING_OR_WRITING[number]
    if _was_writing(error):
        return f"Cannot write {path or f'a file ({text})'}: {reason}. {advice} or {_ELSEWHERE}."
    if path and number in (errno.EACCES, errno.EPERM):  # of a file that is not seen, the nearest folder above it is what could not be read
        place = Path(os.fsdecode(path))
        there = next((one for one in (place, *place.parents) if os.path.lexists(one)), place)
        refused = not os.access(there, os.R_OK | (os.X_OK if there.is_dir() else 0))  # as root or over a network this need not be so
        reason += f" to read {there if refused else place}"
    return f"Cannot read {path or f'a file ({text})'}: {reason}. {advice}, or name another place (paths.data=DIR for data sets)."


def _was_writing(error: BaseException) -> bool:
    """Whether an error of the file system came from a call that makes, writes, moves or removes a file; all others read."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name, mode = frame.f_code.co_name, frame.f_locals.get("mode")
        if name in _CALLS_THAT_WRITE or (name == "open" and isinstance(mode, str) and set("wax+") & set(mode)):
            return True
    return False


def _setting(error: BaseException) -> str | None:
    """A setting that is missing, cannot be resolved, or does not fit the class that it is for."""
    if isinstance(error, MissingMandatoryValue):
        key = re.sub(r"^method\.(?=network\.)", "", error.full_key or str(error))  # a reference to the setting itself
        return f"The setting `{key}` has no value; give it on the command line: {key}=..."
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        return _no_option()
    if isinstance(error, InstantiationException):  # Hydra names the target, its complaint and the key
        if found := _NOT_LOCATED.match(str(error)):
            return not_found(found[1], found[2], error)
        is_mistake = isinstance(error.__cause__, TypeError | ValueError | None)
        return f"{error}\n{_WHERE}" if is_mistake else None
    if isinstance(error, OmegaConfBaseException):
        advice = escaped(sys.argv[1:]) if isinstance(error, InterpolationResolutionError | GrammarParseError) else None
        return f"{error}\n{advice or _WHERE}"
    if type(error).__name__ == "ValidationError":  # pydantic's, of a class of another library; by name, to import it nowhere
        return f"A setting is outside its range: {error}\n{_WHERE}"
    if isinstance(error, yaml.YAMLError) or "integer string conversion" in str(error):  # Python's limit on the digits of a number
        return f"A YAML file cannot be read: {error}\nEach key once, spaces in place of tabs, plain values, no tags (!!...)."
    if type(error).__name__ == "MisconfigurationException":  # Lightning's word for a setting of its Trainer; by name, to import it nowhere
        return f"The Trainer refuses its settings: {error}"
    return None
