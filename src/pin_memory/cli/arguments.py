"""The arguments of the classes and functions that settings name, read from their source: to import them would bring torch."""

import ast
import functools
import importlib.util
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_OPTIONS = "_options"
"""`**reader_options` of a data module are the arguments of the class that its attribute `reader` names."""
_GIVEN = {"split", "transform"}
"""Those of a reader that its data module gives."""


def arguments(target: Any) -> set[str] | None:
    """The names of the arguments that a `_target_` takes, with those that it passes on to its base classes; None: any, or not known."""
    found = _find(str(target))
    if found is None:
        return None
    names: set[str] = set()
    for taken, rest in _signatures(*found):
        names |= taken
        if rest is None:
            return names
        if rest.endswith(_OPTIONS) and found[0]:
            options = _attribute(found[0], rest.removesuffix(_OPTIONS))
            return None if options is None else names | options - _GIVEN
    return None


def _signatures(owner: type | None, function: ast.FunctionDef | None) -> Iterator[tuple[set[str], str | None]]:
    """Arguments, and the name of what is passed on, of a function and then of a class's constructors, as far as they are known."""
    if function:
        yield _names(function), function.args.kwarg.arg if function.args.kwarg else None
    for base in inspect.getmro(owner) if owner else ():
        if (node := vars(base).get("node")) is None:
            return
        if _is_dataclass(node):
            yield {name for one in inspect.getmro(base) for name in _fields(vars(one).get("node"))}, None
            return
        for made in _functions(node, "__init__")[-1:]:
            yield _names(made), made.args.kwarg.arg if made.args.kwarg else None


def _functions(node: ast.ClassDef, name: str) -> list[ast.FunctionDef]:
    return [one for one in _statements(node.body) if isinstance(one, ast.FunctionDef) and one.name == name]


def _names(function: ast.FunctionDef) -> set[str]:
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return {one.arg for one in given} - {"self", "cls"}


def _attribute(owner: type, name: str) -> set[str] | None:
    """The arguments of the class that an attribute of a class, or of its bases, names."""
    for base in (one for one in inspect.getmro(owner) if "node" in vars(one)):
        for node in vars(base)["node"].body:
            if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
                return arguments(_absolute(vars(base)["module"], ast.unparse(node.value)))
    return None


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(one).partition("(")[0] for one in node.decorator_list)


def _fields(node: ast.ClassDef | None) -> list[str]:
    """The arguments that a dataclass adds."""
    made = [one for one in node.body if isinstance(one, ast.AnnAssign) and "ClassVar" not in ast.unparse(one.annotation)] if node else []
    return [one.target.id for one in made if isinstance(one.target, ast.Name) and "init=False" not in ast.unparse(one)]


_Found = tuple[type | None, ast.FunctionDef | None]
"""A class with nothing but its bases and its node; a function; or a method with its class."""
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
        if (tree := _tree(module)) is None:
            continue
        for node in _statements(tree.body):
            if isinstance(node, ast.ClassDef) and node.name == name:
                functions = _functions(node, rest[0]) if len(rest) == 1 else []
                return (_skeleton(module, node), functions[-1] if functions else None) if functions or not rest else None
            if isinstance(node, ast.FunctionDef) and [node.name] == [name, *rest]:
                return None, node
        return _find(_absolute(module, ".".join([name, *rest])))
    return None


def _skeleton(module: str, node: ast.ClassDef) -> type:
    """A class with the bases of another one, by which Python itself finds the order of its methods."""
    found = [_find(_absolute(module, ast.unparse(base.value if isinstance(base, ast.Subscript) else base))) for base in node.bases]
    return type(node.name, tuple(one[0] if one and one[0] else _Unknown for one in found), {"node": node, "module": module})


class _Unknown:
    """A base class whose source was not found."""


def _absolute(module: str, dotted: str) -> str:
    """The complete dotted name of what a module calls by a name."""
    name, dot, rest = dotted.partition(".")
    tree = _tree(module)
    for node in _statements(tree.body if tree else ()):
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            origin = _origin(module, node) if isinstance(node, ast.ImportFrom) else ""
            if (alias.asname or alias.name) == name:
                return f"{origin}.{alias.name}{dot}{rest}".lstrip(".")
            if alias.name == "*" and _tree(origin) and _find(f"{origin}.{dotted}"):
                return f"{origin}.{dotted}"
    return dotted if dotted.startswith(f"{module}.") or "." in dotted else f"{module}.{dotted}"


def _origin(module: str, node: ast.ImportFrom) -> str:
    """The module that an import is from."""
    if not node.level:
        return str(node.module)
    path = _path(module)
    package = module.split(".") if path and path.name == "__init__.py" else module.split(".")[:-1]
    return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body, with those inside `if` and `try`."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from _statements([*node.body, *node.orelse])


@functools.cache
def _tree(module: str) -> ast.Module | None:
    """The parsed file of a module; None where there is none."""
    path = _path(module)
    try:
        return ast.parse(path.read_bytes()) if path and path.suffix == ".py" else None
    except (OSError, SyntaxError, ValueError):  # importing it says why
        return None


def _path(module: str) -> Path | None:
    """The file of a module; its packages are looked for, not imported."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or not rest:
        return Path(spec.origin) if spec and spec.origin else None
    bases = [Path(folder, *rest) for folder in spec.submodule_search_locations or ()]
    files = [file for base in bases for file in (base / "__init__.py", base.with_name(f"{base.name}.py"))]
    return next((file for file in files if file.is_file()), None)
