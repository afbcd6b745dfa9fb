"""The distribution: its name and version, how its extras are installed, and whether another one provides the same import."""

import warnings
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distributions, version
from pathlib import Path

DISTRIBUTION = "pin-the-memory"
"""Name of the distribution; it is on no package index, where another package has the name of the import."""

_IMPORT_NAME = "pin_memory"
_PACKAGE = Path(__file__).parents[1]


def installed_version() -> str:
    """The version of the distribution; `0+unknown` where the sources are imported without being installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0+unknown"


def install_hint(extra: str) -> str:
    """How the packages of an extra are installed, for a message: from a clone, or from the address of a repository."""
    return (
        f"pip install -e '.[{extra}]' in a clone, or pip install '{DISTRIBUTION}[{extra}] @ git+REPOSITORY' with the repository's address"
    )


def warn_of_namesakes(package: Path = _PACKAGE) -> None:
    """Warn where another distribution brings files for `import pin_memory`: one named so, one in our folder, or our own former name."""
    for found in {str(found.locate_file("")) + found.name: found for found in _others(package)}.values():
        files = [file.as_posix() for file in found.files or ()]
        if any(file.endswith("pin_memory.pth") or file.startswith("__editable__.pin_memory") for file in files):
            what = "an editable installation, probably of this project under its former name; its sources may be those of another checkout"
        elif any(file.startswith(f"{_IMPORT_NAME}/") for file in files):
            what = "another package with files of the same names, so that either may be imported in place of the other"
        else:
            continue
        warnings.warn(
            f"The distribution {found.name} {found.version} in {found.locate_file('')} also provides `import {_IMPORT_NAME}`: {what}."
            f" Remove it, then install {DISTRIBUTION} again: pip uninstall {found.name}; pip install -e . in a clone.",
            stacklevel=3,
        )


def _others(package: Path) -> Iterator[Distribution]:
    """Distributions of the import's name; those of other names where the package's folder holds more than we have put there."""
    yield from distributions(name=_IMPORT_NAME)  # compares names as pip does: pin-memory, pin_memory, Pin.Memory
    here = [found for found in distributions(name=DISTRIBUTION, path=[str(package.parent)]) if found.files]
    ours = {file.parts[1] for found in here for file in found.files or () if len(file.parts) > 1 and file.parts[0] == _IMPORT_NAME}
    if ours and {path.name for path in package.iterdir()} - ours - {"__pycache__"}:  # reading all distributions takes its time
        yield from (found for found in distributions(path=[str(package.parent)]) if found.name != DISTRIBUTION)
