"""The file of text prototypes that a setting names, and where there is one."""

from pathlib import Path

from pin_memory.utils.errors import ConfigurationError

PUBLISHED = (
    "for the 19 Cityscapes classes, fetch configs/_base_/datasets/text_embedding/cityscapes_single.npy of google-research/semivl on GitHub"
    " (Apache-2.0)."
)
"""Where a file lies that need not be made, for messages."""
WAYS_OUT = f"Make one for your classes with `python -m pin_memory.text classes=[...] output=FILE`, or, {PUBLISHED}"


def text_file(path: str | Path | None) -> Path:
    """The file of `text.path`.

    Raises:
        ConfigurationError: There is none.
    """
    if path is None:
        raise ConfigurationError(f"text.path is missing: name a file with the embeddings of the class names. {WAYS_OUT}")
    if not (file := Path(path).expanduser()).is_file():
        raise ConfigurationError(f"text.path={path}: no such file (looked for {file.absolute()}). {WAYS_OUT}")
    return file
