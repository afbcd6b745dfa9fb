"""Where a result comes from: code revision, versions, machine."""

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pin_memory.utils.installation import DISTRIBUTION

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "omegaconf", "albumentations", "numpy")
_CHECKOUT = Path(__file__).resolve().parents[3]


def provenance() -> dict[str, Any]:
    """What is needed to tell two results apart, as plain values; versions are None where a package is not installed."""
    import torch

    return {
        "package": _version(DISTRIBUTION),
        "git": git_state(_CHECKOUT),
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "accelerators": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def revision() -> str | None:
    """The git revision of the library's source checkout; None where it is not one."""
    return (git_state(_CHECKOUT) or {}).get("revision")


def backbone_licence(backbone: Any) -> str | None:
    """The licence of the weights that a backbone of these settings began with, as hubs name it.

    None for random weights, and where none is known: torchvision states none, and a file may hold anything, except for a family of
    pretrained transformers, whose weights are what a file for them holds.
    """
    if not isinstance(backbone, Mapping):  # a network of one's own need not have any
        return None
    name, pretrained = backbone.get("name"), backbone.get("pretrained")
    if not isinstance(name, str) or pretrained in (None, "packaged"):
        return None
    from pin_memory.networks.foundation import family_of, licence_of  # imports timm, which takes most of a second

    return licence_of(name) if pretrained in ("timm", "imagenet") or family_of(name) else None


def git_state(checkout: Path) -> dict[str, Any] | None:
    """Revision of a source checkout and whether tracked files differ from it; a parent's repository does not count."""
    if not (checkout / ".git").exists():
        return None
    command = ["git", "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty"]
    try:
        found = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return {"revision": found.removesuffix("-dirty"), "dirty": found.endswith("-dirty")}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
