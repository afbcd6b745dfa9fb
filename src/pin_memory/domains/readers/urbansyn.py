"""UrbanSyn (Gómez et al., 2023): more than 7,500 rendered frames of 2048 x 1024 with the 19 Cityscapes train ids."""

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.layouts import Layout
from pin_memory.utils.labels import IGNORE, TRAIN_ID_TABLE

_UNLABELLED = 19


class UrbanSyn(Domain):
    """UrbanSyn: grey PNGs of train ids, 19 for what has no class, which is ignored.

    There is no official split: the last fifth of the frames by name is validated and tested on.
    """

    title = "UrbanSyn"
    tree = """
rgb/rgb_0001.png ...
ss/ss_0001.png ...    (ss_color/ is not used)
"""
    download = "the data set UrbanSyn/UrbanSyn of huggingface.co (folders rgb and ss), or urbansyn.org"
    table = TRAIN_ID_TABLE
    layouts = (
        Layout("as published", "rgb", "ss", r"rgb_(\d+)\.png", r"ss_(\d+)\.png", encoding="train ids",
               raw_ids=frozenset({*range(_UNLABELLED + 1), IGNORE})),
    )  # fmt: skip
    inner_roots = ("", "UrbanSyn")
