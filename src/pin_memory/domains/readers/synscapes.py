"""Synscapes (Wrenninge and Unger, 2018): 25,000 rendered frames of 1440 x 720 with Cityscapes label ids, each of a scene of its own."""

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.cityscapes import ENCODINGS, LABEL_IDS
from pin_memory.domains.readers.layouts import Layout


class Synscapes(Domain):
    """Synscapes: grey PNGs of label ids for the images of native size; the enlarged ones (rgb-2k) have no labels of their size.

    There is no official split: the last fifth of the frames by name is validated and tested on.
    """

    title = "Synscapes"
    tree = """
img/rgb/1.png ... 25000.png
img/class/1.png ... 25000.png
"""
    download = "synscapes.on.liu.se (after a request)"
    table = LABEL_IDS
    layouts = (Layout("as published", "img/rgb", "img/class", r"(\d+)\.png", r"(\d+)\.png", encoding="labelIds", **ENCODINGS["labelIds"]),)
    inner_roots = ("", "Synscapes")
    official_counts = {"train": 20_000, "val": 5_000}  # the parts of the 25,000 frames by the last fifth
