"""Values of settings, by the rules of the classes that take them, which are read from their source: to import them would bring torch."""

import ast
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

from omegaconf import DictConfig

from pin_memory.cli.arguments import annotations
from pin_memory.cli.own_code import not_found
from pin_memory.cli.sources import origin, statements, tree
from pin_memory.utils import validation
from pin_memory.utils.config import plain
from pin_memory.utils.errors import ConfigurationError

_KNOWN = {**vars(validation), "Literal": Literal, "Sequence": Sequence}
"""What annotations of settings are made of, besides the names of their own module."""


def refuse_wrong_values(cfg: DictConfig) -> None:
    """Refuse classes in modules that are not there, and values that `validated` would refuse when our classes are made of them."""
    for key, node in _objects(plain(cfg)):
        target = str(node["_target_"])
        if not _is_there(top := target.partition(".")[0]):
            raise ConfigurationError(not_found(target, key, ModuleNotFoundError(f"No module named '{top}'")))
        for group, rules in _rules(target) if target.startswith("pin_memory.") else ():
            given = {name: node[name] for name in rules if name in node and _is_a_value(node[name])}
            validation.check_values(group, rules, given)


def _is_there(module: str) -> bool:
    """Whether there is a module, or a folder of modules, of this name; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # importing it says why
        return True


def _objects(content: Any, key: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The settings of which objects are made, by their dotted keys."""
    if isinstance(content, Mapping):
        if "_target_" in content:
            yield key, content
        for name, value in content.items():
            yield from _objects(value, f"{key}.{name}" if key else str(name))


def _is_a_value(value: Any) -> bool:
    """Whether a setting is neither that of an object nor a reference."""
    return not isinstance(value, Mapping) and "${" not in str(value)


def _rules(target: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The group of each validated class of a target, and the rules of those arguments whose annotations can be read."""
    for module, node, given in annotations(target):
        groups = [one.args[0] for one in node.decorator_list if isinstance(one, ast.Call) and ast.unparse(one.func) == "validated"]
        for group in groups:
            rules = {}
            for name, annotation in given.items():
                with suppress(NameError):  # of a class that only an import makes
                    rules[name] = _Names(module).evaluate(annotation)
            yield ast.literal_eval(group), rules


class _Names(dict[str, Any]):
    """The names in a module that stand for types made of known ones."""

    def __init__(self, module: str) -> None:
        super().__init__(_KNOWN)
        self._module = module

    def evaluate(self, annotation: ast.expr) -> Any:
        """The type that an annotation stands for. NameError: it has a name of another kind."""
        return eval(ast.unparse(annotation), {}, self)  # source of this package

    def __missing__(self, name: str) -> Any:
        """Look for an alias in the module, and in those of this package that it imports from."""
        parsed = tree(self._module)
        for node in statements(parsed.body if parsed else ()):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                return self.evaluate(node.value)
            if isinstance(node, ast.ImportFrom) and name in [one.name for one in node.names]:
                source = origin(self._module, node)
                if source.startswith("pin_memory."):
                    return _Names(source)[name]
        raise KeyError(name)
