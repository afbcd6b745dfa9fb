"""The names of timm's networks, read from its files without importing it (and torch)."""

import difflib
import functools
import importlib.metadata
import importlib.util
import re
from collections.abc import Collection
from pathlib import Path

from pin_memory.utils.errors import ConfigurationError


@functools.cache
def timm_names() -> frozenset[str]:
    """All architectures, without the tags of their weights; none where timm is not installed."""
    spec = importlib.util.find_spec("timm")
    files = Path(spec.origin).parent.glob("models/**/*.py") if spec and spec.origin else ()
    return frozenset(name for file in files for name in re.findall(r"^@register_model\s+def (\w+)", file.read_text("utf-8"), re.MULTILINE))


def no_such_network(name: str, known: Collection[str]) -> ConfigurationError:
    """The error for a name that timm does not have, with the known ones that are near."""
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    return ConfigurationError(
        f"network.backbone.name={name}: timm {importlib.metadata.version('timm')} has no such network."
        + (f" Did you mean {' or '.join(near)}?" if near else "")
        + ' All names: python -c "import timm; print(timm.list_models())"'
    )
