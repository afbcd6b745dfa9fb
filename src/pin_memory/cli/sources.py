"""Modules as syntax trees: found and parsed, never imported."""

import ast
import functools
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


@functools.cache
def tree(module: str) -> ast.Module | None:
    """The parsed file of a module; None where there is none."""
    file = path(module)
    try:
        return ast.parse(file.read_bytes()) if file and file.suffix == ".py" else None
    except (OSError, SyntaxError, ValueError):  # importing it says why
        return None


def path(module: str) -> Path | None:
    """The file of a module; its packages are looked for, not imported."""
    top, *rest = module.split(".")
    if module == "__main__":  # has no spec when it is a script
        file = getattr(sys.modules[module], "__file__", None)
        return Path(file) if file else None
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or not rest:
        return Path(spec.origin) if spec and spec.origin else None
    bases = [Path(folder, *rest) for folder in spec.submodule_search_locations or ()]
    files = [file for base in bases for file in (base / "__init__.py", base.with_name(f"{base.name}.py"))]
    return next((file for file in files if file.is_file()), None)


def origin(module: str, node: ast.ImportFrom) -> str:
    """The module that an import is from."""
    if not node.level:
        return str(node.module)
    file = path(module)
    package = module.split(".") if file and file.name == "__init__.py" else module.split(".")[:-1]
    return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


def statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body, with those inside `if` and `try`."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from statements([*node.body, *node.orelse])


def definition(body: Sequence[ast.stmt], name: str) -> Any:
    """The class or function of a name in a body; None if there is none, or more than one."""
    nodes = (one for one in statements(body) if isinstance(one, ast.ClassDef | ast.FunctionDef) and one.name == name)
    found = [one for one in nodes if not has_decorator(one, "overload")]
    return found[0] if len(found) == 1 else None


def has_decorator(node: ast.ClassDef | ast.FunctionDef, name: str) -> bool:
    """Whether a class or function has a decorator of a name."""
    return any(name == ast.unparse(one).partition("(")[0].rpartition(".")[2] for one in node.decorator_list)
