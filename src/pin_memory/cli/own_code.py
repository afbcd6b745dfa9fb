"""Errors in a user's own file: which line of it, in one message, without the frames of the libraries around it."""

import difflib
import re
import site
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from hydra.errors import HydraException

from pin_memory.utils.errors import first_names

_IN_A_WORKER = re.compile(r'^  File "(.+)", line (\d+), in (.+)\n(?:    (.+))?', re.MULTILINE)


class _Place(NamedTuple):
    """A line of a file."""

    file: str
    line: int
    function: str
    code: str


def in_own_code(chain: Sequence[BaseException]) -> str | None:
    """The file, the line and the words of an error that was raised in, or by a call from, a file of the user's; None: from no such file.

    Args:
        chain: The error, then what it was raised from, outermost first. What Hydra wraps around an error is passed over.
    """
    for link in (link for link in chain if not isinstance(link, HydraException)):
        if found := next(_own_places(link), None):
            where = f"{found.file}, line {found.line}" + (f", in {found.function}" if found.function else "")
            return f"{where}: {_words(link)}" + (f"\n    {found.code.strip()}" if found.code else "")
    return None


def not_found(target: str, key: str | None, error: BaseException) -> str:
    """What to do about a `_target_` that is in no module; `error` is Hydra's."""
    where = f"Error locating target '{target}'" + (f" of {key}._target_" if key else "")
    module, _, name = target.rpartition(".")
    if found := sys.modules.get(module):
        there = [one for one in vars(found) if not one.startswith("_")]
        near = difflib.get_close_matches(name, there, 3) or [
            one for one in there if getattr(vars(found)[one], "__module__", None) == module
        ]
        return f"{where}: {getattr(found, '__file__', module)} has no {name}." + (f" It has {first_names(near, 8)}." if near else "")
    reason = error
    while reason.__cause__:
        reason = reason.__cause__
    return (
        f"{where}: {reason}. Modules are looked for in the folder of the command ({Path.cwd()}) and among the installed packages; another"
        " folder is added by the environment: PYTHONPATH=DIR."
    )


def _own_places(error: BaseException) -> Iterator[_Place]:
    """The user's lines that an error passed through, innermost first."""
    if isinstance(error, SyntaxError) and error.filename and _is_own(error.filename):
        yield _Place(error.filename, error.lineno or 0, "", error.text or "")
    in_a_worker = (
        _IN_A_WORKER.findall(str(error)) if str(error).startswith("Caught ") else []
    )  # a loader's worker sends its traceback as text
    for file, line, function, code in reversed(in_a_worker):
        if _is_own(file):
            yield _Place(file, int(line), function, code)
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        summary = traceback.FrameSummary(frame.f_code.co_filename, line, frame.f_code.co_name)
        if frame.f_globals.get("__name__") != "__main__" and _is_own(summary.filename):  # the program that was started is a command's
            yield _Place(summary.filename, line, summary.name, summary.line or "")


def _words(error: BaseException) -> str:
    """Kind and message of an error, as the last line of a traceback has them."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    text = str(error)
    if text.startswith("Caught "):
        return (
            text[text.rindex(f"\n{type(error).__name__}") + 1 :].rstrip()
            if f"\n{type(error).__name__}" in text
            else text.partition("\n")[0]
        )
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _is_own(file: str) -> bool:
    """Whether a file of source is neither Python's, nor an installed package's, nor ours."""
    return not file.startswith("<") and not any(Path(file).resolve().is_relative_to(folder) for folder in _of_others())


@cache
def _of_others() -> list[Path]:
    """The folders of Python, of what is installed, and of this package."""
    ours = Path(__file__).parents[1]
    places: list[str | Path] = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")]
    places += [*site.getsitepackages(), site.getusersitepackages(), ours, ours.with_name("hydra_plugins")]
    return [Path(place).resolve() for place in places]
