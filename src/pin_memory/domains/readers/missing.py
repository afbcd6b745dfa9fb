"""The error of a data set that is not there, and what its message says."""

from pathlib import Path

from pin_memory.utils.errors import DataError, first_names

DEMO = "To see everything run without any data set, on drawn stand-ins:\n    python -m pin_memory.train experiment=demo"


class MissingDataError(DataError):
    """A data set that is not where it was looked for.

    Attributes:
        report: What was expected, what was found and where to get it, without the hint at the demo that ends the message.
    """

    def __init__(self, report: str) -> None:
        """Make the error from its `report`."""
        self.report = report
        super().__init__(f"{report}\n\n{DEMO}")


def contents(folder: Path) -> str:
    """Describe what lies in a folder, for messages."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in folder.iterdir())
    return f"{folder} holds {first_names(names, 6)}" if names else f"{folder} is empty"
