"""The arguments of the classes and functions that settings name, read from their source: to import them would bring torch."""

import ast
import inspect
from collections.abc import Iterator
from typing import Any

from pin_memory.cli.sources import definition, has_decorator, origin, statements, tree

_OPTIONS = "_options"
"""`**reader_options` of a data module are the arguments of the class that its attribute `reader` names."""
_GIVEN = {"split", "transform"}
"""Those of a reader that its data module gives."""
_WITHOUT_CONSTRUCTOR = ("object", "ABC", "Generic", "Protocol")


def arguments(target: Any) -> set[str] | None:
    """The names of the arguments that a `_target_` takes, with those that it passes on to its base classes; None: any, or not known."""
    found = _find(str(target))
    names: set[str] = set()
    for base, function in _makers(*found) if found else ():
        names |= function if isinstance(function, set) else _names(function)
        rest = None if isinstance(function, set) else function.args.kwarg
        if rest is None:
            return names
        if found and found[0] and rest.arg.endswith(_OPTIONS):
            options = _options(found[0], base, rest.arg.removesuffix(_OPTIONS))
            return None if options is None else names | options - _GIVEN
    return None


def annotations(target: str) -> Iterator[tuple[str, ast.ClassDef, dict[str, ast.expr]]]:
    """The classes whose constructors a `_target_` calls: module, node, and the annotations of the arguments by name."""
    found = _find(target)
    for owner, function in _makers(*found) if found else ():
        if owner is None:
            continue
        node = vars(owner)["node"]
        if isinstance(function, set):
            given = {ast.unparse(one.target): one.annotation for one in node.body if isinstance(one, ast.AnnAssign)}
        else:
            given = {one.arg: one.annotation for one in (*function.args.args, *function.args.kwonlyargs) if one.annotation}
        yield vars(owner)["module"], node, given


def _makers(owner: type | None, function: ast.FunctionDef | None) -> Iterator[tuple[type | None, ast.FunctionDef | set[str]]]:
    """A function and then the constructors of a class, or the fields of a dataclass, as long as all arguments are passed on and known."""
    if function:
        yield None, function
        if not _passes_on(function):
            return
    for base in inspect.getmro(owner)[:-1] if owner else ():
        if (node := vars(base).get("node")) is None:
            return
        made = definition(node.body, "__init__")
        if made is None and has_decorator(node, "dataclass") and "init=False" not in ast.unparse(node.decorator_list[0]):
            nodes = [vars(one)["node"] for one in inspect.getmro(base)[:-1] if "node" in vars(one)]
            if len(nodes) == len(inspect.getmro(base)) - 1:
                yield base, {name for one in nodes for name in _fields(one)}
            return
        if _binds(node, "__new__") or (made is None and (node.decorator_list or node.keywords or _binds(node, "__init__"))):
            return  # objects are made in another way
        if made:
            yield base, made
            if not _passes_on(made):
                return


def _passes_on(function: ast.FunctionDef) -> bool:
    """Whether `**kwargs` go to the constructor of the class or of its bases, and nowhere else."""
    rest = function.args.kwarg.arg if function.args.kwarg else ""
    calls = [one for one in ast.walk(function) if isinstance(one, ast.Call) and any(key.arg is None for key in one.keywords)]
    taking = [ast.unparse(one.func) for one in calls if any(ast.unparse(key.value) == rest for key in one.keywords if key.arg is None)]
    return bool(taking) and all(name in ("super().__init__", "cls") for name in taking)


def _binds(node: ast.ClassDef, name: str) -> bool:
    """Whether the body of a class gives a name a meaning."""
    return any(name in (getattr(one, "name", ""), *_assigned(one)) for one in statements(node.body))


def _assigned(node: ast.stmt) -> list[str]:
    """The names that a statement assigns to."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [one.id for one in targets if isinstance(one, ast.Name)]


def _names(function: ast.FunctionDef) -> set[str]:
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return {one.arg for one in given} - {"self", "cls"}


def _options(owner: type, base: type | None, name: str) -> set[str] | None:
    """The arguments of the class that an attribute names, unless a class before the `base` that takes them has its own `option_names`."""
    classes = [one for one in inspect.getmro(owner) if "node" in vars(one)]
    if any(_binds(vars(one)["node"], "option_names") for one in classes[: classes.index(base) if base else 0]):
        return None
    for one in classes:
        for node in vars(one)["node"].body:
            if name in _assigned(node) and node.value:
                return arguments(_absolute(vars(one)["module"], ast.unparse(node.value)))
    return None


def _fields(node: ast.ClassDef) -> list[str]:
    """The arguments that a dataclass adds."""
    made = [one for one in node.body if isinstance(one, ast.AnnAssign) and "ClassVar" not in ast.unparse(one.annotation)]
    return [one.target.id for one in made if isinstance(one.target, ast.Name) and "init=False" not in ast.unparse(one)]


_Found = tuple[type | None, ast.FunctionDef | None]
"""A class with nothing but its bases and its node; a function; or a class method with its class."""
_FOUND: dict[str, _Found | None] = {}


def _find(dotted: str) -> _Found | None:
    """What a dotted name leads to; None if that is no class or function, or is not known."""
    if dotted not in _FOUND:
        _FOUND[dotted] = None  # what modules import from each other in a circle
        _FOUND[dotted] = _look_for(dotted)
    return _FOUND[dotted]


def _look_for(dotted: str) -> _Found | None:
    parts = dotted.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module, (name, *rest) = ".".join(parts[:length]), parts[length:]
        if (parsed := tree(module)) is None:
            continue
        node = definition(parsed.body, name)
        if isinstance(node, ast.ClassDef) and len(rest) < 2:
            function = definition(node.body, rest[0]) if rest else None
            if rest and not isinstance(function, ast.FunctionDef):
                return None
            return _skeleton(module, node) if function is None or has_decorator(function, "classmethod") else None, function
        if isinstance(node, ast.FunctionDef) and not rest:
            return None, node
        return _find(_absolute(module, ".".join([name, *rest])))
    return None


def _skeleton(module: str, node: ast.ClassDef) -> type:
    """A class with the bases of another one, by which Python itself finds the order of its methods."""
    names = [ast.unparse(base.value if isinstance(base, ast.Subscript) else base) for base in node.bases]
    found = [_find(_absolute(module, name)) for name in names if name.rpartition(".")[2] not in _WITHOUT_CONSTRUCTOR]
    bases = tuple(one[0] if one and one[0] else type("Unknown", (), {}) for one in found)
    content = {"node": node, "module": module}
    try:
        return type(node.name, bases, content)
    except TypeError:  # of bases that Python would take otherwise
        return type(node.name, (type("Unknown", (), {}),), content)


def _absolute(module: str, dotted: str) -> str:
    """The complete dotted name of what a module calls by a name."""
    name, dot, rest = dotted.partition(".")
    parsed = tree(module)
    if parsed and definition(parsed.body, name):
        return f"{module}.{dotted}"
    for node in statements(parsed.body if parsed else ()):
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            source = origin(module, node) if isinstance(node, ast.ImportFrom) else ""
            if (alias.asname or alias.name) == name:
                return f"{source}.{alias.name}{dot}{rest}".lstrip(".")
            if alias.name == "*" and tree(source) and _find(f"{source}.{dotted}"):
                return f"{source}.{dotted}"
    return dotted if dotted.startswith(f"{module}.") or "." in dotted else f"{module}.{dotted}"
