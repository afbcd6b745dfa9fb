"""Lightning's private parts are touched in one file."""

import re
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"
PRIVATE = re.compile(r"\b(?:trainer|strategy)\._|_layer_sync|\b\w+_loop\.|\._\w+_connector\b|batch_progress|self\._trainer\b")
HOME = SOURCE / "pin_memory" / "utils" / "lightning_private.py"


def test_private_parts_of_lightning_are_touched_in_one_file() -> None:
    """A new minor version of Lightning is then checked in one place."""
    assert PRIVATE.search(HOME.read_text(encoding="utf-8"))
    found = [
        f"{path.relative_to(SOURCE)}:{number}: {line.strip()}"
        for path in SOURCE.rglob("*.py")
        if path != HOME
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if PRIVATE.search(line)
    ]
    assert found == []
