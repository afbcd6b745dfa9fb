"""Checks of settings by pydantic, whose failures reach the user as one `ConfigurationError`.

    @validated("loading")
    @dataclass(frozen=True)
    class Loading:
        batch_size: Annotated[int, Field(ge=1, le=4096)] = 4

`Loading(batch_size=0)` then says "loading.batch_size must be greater than or equal to 1, found 0." Rules between several settings stay in
the body of the constructor, or in `__post_init__`, and raise a `ConfigurationError` themselves.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, Strict, TypeAdapter, ValidationError, validate_call
from pydantic_core import ErrorDetails

from pin_memory.utils.errors import ConfigurationError

T = TypeVar("T", bound=Callable[..., Any])

# Strict: neither "3" nor true is a number. Types that pydantic does not know are checked by isinstance.
_RULES = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)
_SHOWN = 80  # characters of a value


def increasing(ends: tuple[float, float]) -> tuple[float, float]:
    """Refuse a range whose ends are exchanged; for ranges of other numbers than `Range`."""
    if ends[0] > ends[1]:
        raise ValueError("must have its lower end first")
    return ends


Share = Annotated[float, Field(ge=0, le=1)]  # a share or a probability, 0..1
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Range = Annotated[tuple[float, float], Strict(False), AfterValidator(increasing)]
"""The lower and the upper end of a range, from a tuple or a list."""


def validated(group: str) -> Callable[[T], T]:
    """Decorate a function, or a class for its constructor, so that pydantic checks the arguments against their annotations.

    `Annotated[int, Field(ge=1)]`, `Literal["a", "b"]` and pydantic's other types set the rules; an argument that breaks one is a
    ConfigurationError, whose message names it with its `group` of settings. Arguments without annotation are not checked. A tuple takes a
    list as well where its annotation has `Strict(False)`, as `Range` has.
    """

    def decorate(target: T) -> T:
        if inspect.isclass(target):
            target.__init__ = _checked(target.__init__, group)  # type: ignore[method-assign]
            return target
        return _checked(target, group)

    return decorate


def check_values(group: str, rules: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Refuse values of a group of settings that break the rule of their name, as `validated` does arguments."""
    errors: list[ErrorDetails] = []
    for name, value in values.items():
        try:
            TypeAdapter(rules[name], config=_RULES).validate_python(value)
        except ValidationError as error:
            errors += [{**details, "loc": (name, *details["loc"])} for details in error.errors()]
    if errors:
        raise ConfigurationError(_message(errors, group, list(rules)))


def _checked(function: T, group: str) -> T:
    check = validate_call(config=_RULES)(function)
    names = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return check(*args, **kwargs)
        except ValidationError as error:
            raise ConfigurationError(_message(error.errors(), group, names)) from None

    return call  # type: ignore[return-value]


def _message(errors: Iterable[ErrorDetails], group: str, names: list[str]) -> str:
    """One sentence for each setting, also where it may have several types and fits none of them."""
    by_setting: dict[str, list[ErrorDetails]] = {}
    for error in errors:
        first = error["loc"][0]
        by_setting.setdefault(names[first] if isinstance(first, int) and first < len(names) else str(first), []).append(error)
    known = ", ".join(name for name in names if name != "self")
    return " ".join(_sentence(f"{group}.{name}" if group else name, found, known) for name, found in by_setting.items())


def _sentence(setting: str, errors: list[ErrorDetails], known: str) -> str:
    kind, value = errors[0]["type"], repr(errors[0]["input"])
    if kind == "unexpected_keyword_argument":
        return f"There is no setting {setting}; expected one of {known}."
    if kind in ("missing_argument", "missing_keyword_only_argument", "missing_positional_only_argument"):
        return f"{setting} is missing: set it."
    reasons = dict.fromkeys(error["msg"].removeprefix("Value error, ").replace("Input should be", "must be") for error in errors)
    places = {part for error in errors for part in error["loc"][1:] if isinstance(part, int)}
    where = f" (entry {', '.join(map(str, sorted(places)))}, counted from 0)" if places else ""
    shown = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
    return f"{setting}{where} {' or '.join(reasons)}, found {shown}."
