"""What is imported is named in pyproject.toml, and what has to be bounded is."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OWN = {"pin_memory", "hydra_plugins", "tests", "benchmarks"}
PART_OF = {"pydantic_core": "pydantic", "sqlalchemy": "optuna", "joblib": "hydra-joblib-launcher", "submitit": "hydra-submitit-launcher"}
"""Packages that are used only as the named ones hand them out: their types and exceptions."""
# These need not be installed, so that their files do not say where they belong.
PART_OF |= {"open_clip": "open_clip_torch", "imagecorruptions": "imagecorruptions-imaug"}
PART_OF |= {"wandb_workspaces": "wandb-workspaces", "mlflow": "mlflow-skinny"}
EXTRAS = {"src": ["wandb", "analysis", "export", "sweeps", "text", "corruptions", "dashboard", "tensorboard", "mlflow"]}
EXTRAS |= {folder: [*EXTRAS["src"], "dev"] for folder in ("tests", "benchmarks")}


def named(*extras: str) -> set[str]:
    """Distributions that the project asks for, with those of the extras."""
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return {_plain(match[0]) for line in lines if (match := re.match(r"[\w.-]+", line))}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(folder: Path) -> set[str]:
    """Top-level names of all modules that the files of a folder import, also inside functions, without Python's and our own."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
    return found - OWN - set(sys.stdlib_module_names)


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks"])
def test_imports_are_named(folder: str) -> None:
    """What comes along with another package today may not do so tomorrow."""
    homes = packages_distributions()
    named_here = named(*EXTRAS[folder])
    missing = []
    for name in imported(ROOT / folder):
        if not {_plain(home) for home in (PART_OF.get(name), *homes.get(name, [name])) if home} & named_here:
            missing.append(name)
    assert sorted(missing) == []


def test_no_other_minor_version_of_lightning_is_taken() -> None:
    """Than the one whose private parts were looked at; a later one could lack some of them without an error."""
    (line,) = [line for line in PROJECT["dependencies"] if line.startswith("lightning")]
    major, minor, *_ = version("lightning").split(".")
    assert f"<{major}.{int(minor) + 1}" in line
