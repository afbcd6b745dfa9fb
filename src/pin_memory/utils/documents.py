"""Reading JSON and YAML that others have made: limits on size and nesting, no objects, no repetition that explodes."""

import json
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

MAX_NODES = 1_000_000
"""Values that nested containers may come to when everything that is named twice is written out."""
MAX_DEPTH = 100
"""Levels that containers may be nested."""
MAX_JSON_BYTES = 2**29
"""Bytes of a JSON file: 512 MiB; the annotations of a whole data set take tens of megabytes."""
MAX_YAML_BYTES = 2**22
"""Bytes of a YAML file: 4 MiB."""


class TooLargeError(ValueError):
    """A file that would unpack to more than it may."""


def read_json(path: Path, limit: int = MAX_JSON_BYTES) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        limit: Bytes that it may have.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged, too large or nested too deeply.
    """
    try:
        return json.loads(_content(path, limit))
    except RecursionError as error:
        raise ValueError("brackets nested too deeply") from error


def read_yaml(path: Path) -> Any:
    """Read a YAML file to plain containers; a tag that asks for an object is refused.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged, asks for objects, is too large or nested too deeply, or its aliases repeat parts without end.
    """
    content = _content(path, MAX_YAML_BYTES)
    try:
        check_yaml(content)
        return yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise ValueError(f"no YAML of plain values: {' '.join(str(error).split())}") from error


def check_yaml(content: bytes) -> None:
    """Refuse YAML that is nested too deeply or whose aliases repeat parts without end ("billion laughs"); nothing is expanded.

    Raises:
        ValueError: It does; also text that is no YAML at all, as yaml.YAMLError.
    """
    try:
        for document in yaml.compose_all(content, Loader=yaml.SafeLoader):
            walk(document, _children)
    except RecursionError as error:
        raise TooLargeError("brackets nested too deeply") from error


def check_yaml_file(path: Path) -> None:
    """As `check_yaml`, of a file that something else is about to read; what cannot be read or is no YAML is left to that.

    Raises:
        ValueError: As `check_yaml`; also a file that is too large.
    """
    try:
        check_yaml(_content(path, MAX_YAML_BYTES))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return


def walk(root: Any, parts: Callable[[Any], Iterable[Any]]) -> None:
    """Count the values below `root` as if nothing were shared; `parts` lists those of a container.

    Raises:
        TooLargeError: As in `check_expansion`.
    """
    counts: dict[int, int] = {}
    open_: dict[int, int] = {}
    stack: list[tuple[Any, Iterator[Any]]] = [(root, iter(parts(root)))]
    open_[id(root)] = 1
    while stack:
        node, rest = stack[-1]
        part = next(rest, stack)
        if part is stack:
            stack.pop()
            counts[id(node)] = open_.pop(id(node))
            if stack:
                open_[id(stack[-1][0])] += counts[id(node)]
        elif id(part) in open_:
            raise TooLargeError("a part that holds itself")
        elif id(part) in counts:
            open_[id(node)] += counts[id(part)]
        else:
            open_[id(part)] = 1
            stack.append((part, iter(parts(part))))
        if len(stack) > MAX_DEPTH:
            raise TooLargeError(f"more than {MAX_DEPTH} levels of containers in one another")
        if stack and open_[id(stack[-1][0])] > MAX_NODES:
            raise TooLargeError(f"more than {MAX_NODES} values once everything that is repeated is written out")


def _content(path: Path, limit: int) -> bytes:
    """The bytes of a file that has no more than `limit`.

    Raises:
        TooLargeError: It has more, or never ends.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("a folder, a pipe or a device, not a file")
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise TooLargeError(f"a file of more than {limit} bytes")
    return content


def _children(node: Any) -> Iterable[Any]:
    """The parts of a YAML node."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else ()
