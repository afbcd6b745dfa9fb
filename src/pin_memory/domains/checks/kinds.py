"""The kinds of findings of a check, and how serious each is."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
        level: "error", "warning" or "note".
        one: What is said of one file; empty where each finding has a sentence of its own.
        many: What is said of several.
    """

    level: str
    one: str = ""
    many: str = ""


_DECODING: Mapping[str, Kind] = {
    "unreadable": Kind("error", "file cannot be read", "files cannot be read"),
    "empty": Kind("error", "file is empty", "files are empty"),
    "not_a_picture": Kind("error", "file is not a picture", "files are not pictures"),
    "truncated": Kind("error", "file is truncated", "files are truncated"),
    "too_large": Kind("error", "file has more pixels than can be decoded safely", "files have more pixels than can be decoded safely"),
    "undecodable": Kind("error", "file is damaged", "files are damaged"),
    "wrong_encoding": Kind("error", "label is not in the data set's encoding", "labels are not in the data set's encoding"),
}

KINDS: Mapping[str, Kind] = {
    "missing": Kind("error"),
    "unusable": Kind("error"),
    "unmatched_image": Kind("error", "image has no label", "images have no label"),
    "unmatched_label": Kind("error", "label has no image", "labels have no image"),
    **_DECODING,
    "size_mismatch": Kind("error", "pair differs in size", "pairs differ in size"),
    "all_ignored": Kind("error", "label has no pixel of any class", "labels have no pixel of any class"),
    "single_class_label": Kind("error", "label has one class only", "labels have one class only"),
    "single_colour_image": Kind("error", "image has one colour only", "images have one colour only"),
    "published_single_colour": Kind(
        "note", "file is of one colour or class, as published", "files are of one colour or class, as published"
    ),
    "unlisted_value": Kind(
        "error", "label holds raw values that are none of the data set's", "labels hold raw values that are none of the data set's"
    ),
    "missing_split": Kind("warning"),
    "unexpected_class": Kind("warning"),
    "fewer": Kind("warning"),
    "note": Kind("note"),
}
"""What can be found, most serious first."""

DECODING = frozenset(_DECODING)
"""Why a file cannot be decoded: of one file only one of these is said, the first that was seen."""
