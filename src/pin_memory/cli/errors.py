"""Which exceptions are a user's mistake or a machine that does not suffice, and the message for each; all others are defects."""

import re
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import yaml
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

from pin_memory.cli.arguments import arguments
from pin_memory.cli.machine import resource, storage, text_of
from pin_memory.cli.own_code import in_own_code, not_found
from pin_memory.cli.quoting import escaped, for_shell, literal, parsed_value
from pin_memory.cli.unread import no_such_setting
from pin_memory.utils.config import config_directory, plain
from pin_memory.utils.errors import ResourceError, UserError, first_names

_WHERE = "HYDRA_FULL_ERROR=1 before the command shows where it happened."
_DEAD_JOBS = ("UncompletedJobError", "TerminatedWorkerError")  # of submitit and joblib; by name, to import them nowhere

_NOT_LOCATED = re.compile(r"Error locating target '(.+)', set env.*(?:\nfull_key: (.+))?")  # Hydra's words


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
            return Mistake("\n".join([text_of(link), *([reason] if reason else [])]), link.exit_code)
    if isinstance(error, HydraException) and not isinstance(error, InstantiationException):
        return _of_hydra(error)
    for link in chain:
        if message := resource(link):
            return Mistake("\n".join([message, *_notes(chain)]), ResourceError.exit_code)
    for link in chain:
        if found := _dead_job(link):
            return found
        if message := storage(link):
            return Mistake(message)
    for link in chain:
        if not isinstance(link, InstantiationException) and (message := _setting(link)):
            return Mistake(message)
    if message := in_own_code(chain):
        return Mistake("\n".join([message, *_notes(chain), _WHERE]))
    return next((Mistake(message) for link in chain if (message := _setting(link))), None)


def _of_hydra(error: HydraException) -> Mistake:
    """The message for an override, or a configuration, that Hydra refuses."""
    if advice := _quoting(error):
        return Mistake(advice)
    cause = error.__cause__
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and isinstance(cause.parent_node, DictConfig) and cause.full_key:
        return Mistake(_no_such_key(str(error), cause.full_key, str(cause.key), cause.parent_node))
    return Mistake(f"{error}\n{cause}" if isinstance(cause, OmegaConfBaseException) else str(error))


def _dead_job(error: BaseException) -> Mistake | None:
    """The message for a job that could not report anything; others report their own errors themselves."""
    if type(error).__name__ not in _DEAD_JOBS:
        return None
    first = str(error).partition("\n")[0]
    return Mistake(
        "A job's process ended without a message: killed, out of memory or at the time limit"
        f" ({type(error).__name__}: {first}). The same command resumes the jobs that are not finished.",
        exit_code=1,
    )


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
    if key == full_key:  # one at the top may be a misspelt group
        names |= {folder.name for folder in config_directory().iterdir() if folder.is_dir()}
    elsewhere = {name: value for name, value in plain(place._get_root()).items() if name != "hydra"}
    advice = re.search(r"use (\+.*)", text)  # Hydra's, which it gives for misspelt keys, too
    typed = advice[1] if advice else f"+{full_key}=..."
    may_be = "_target_" in place and ((options := arguments(place["_target_"])) is None or key in options)
    hint = f" An option that the YAML file does not list takes a plus sign: {typed}" if may_be else ""
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
