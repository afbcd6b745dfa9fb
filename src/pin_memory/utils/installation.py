"""What this package is called where it is installed, how its extras are installed, and whether another package is in its way."""

import warnings
from importlib.metadata import PackageNotFoundError, distributions, version

DISTRIBUTION = "pin-the-memory"
"""Name of the distribution; it is on no package index, where another package has the name of the import."""

_IMPORT_NAME = "pin_memory"


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


def warn_of_namesakes() -> None:
    """Warn where another distribution brings files for `import pin_memory`: one named so, or an installation from before the new name."""
    for found in distributions(name=_IMPORT_NAME):  # compares names as pip does: pin-memory, pin_memory, Pin.Memory
        files = [file.as_posix() for file in found.files or ()]
        if any(file.endswith(".pth") for file in files):
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
