"""Name and folders of the user, for libraries that ask for them, where the system knows none, as in containers."""

import getpass
import os
import tempfile
from pathlib import Path


def settle_user() -> None:
    """Give this process, and those it starts, what a user id without a passwd entry or without a usable home folder lacks.

    PyTorch's compiler names its cache after the user (`getpass`); caches and configurations lie in the home folder, of a container's
    user often `/`, read-only or none. What is set in the environment stays.
    """
    number = os.getuid() if hasattr(os, "getuid") else 0
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["USER"] = f"uid{number}"
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - pathlib raises where there is none
    if home.is_absolute() and all(_is_writable(home, name) for name in (".cache", ".config")):
        return
    folder = _own_folder(number)
    if not home.is_absolute() or not home.is_dir():
        os.environ["HOME"] = str(folder)
    os.environ.setdefault("XDG_CACHE_HOME", str(folder / "cache"))
    os.environ.setdefault("XDG_CONFIG_HOME", str(folder / "config"))


def _is_writable(home: Path, name: str) -> bool:
    """Whether something can be written to a folder in `home`, or that folder be made."""
    place = home / name if os.path.lexists(home / name) else home
    return os.access(place, os.W_OK | os.X_OK) and place.is_dir()


def _own_folder(number: int) -> Path:
    """A folder among the system's temporary ones that no other user has made."""
    folder = Path(tempfile.gettempdir()) / f"pin_memory-{number}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or (hasattr(os, "getuid") and folder.stat().st_uid != number):
        return Path(tempfile.mkdtemp(prefix="pin_memory-"))
    return folder
