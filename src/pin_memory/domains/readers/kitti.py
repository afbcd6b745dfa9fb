"""KITTI semantics (Abu Alhaija et al., IJCV 2018): 200 labelled frames."""

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.cityscapes import LABEL_IDS, LABEL_NAMES
from pin_memory.domains.readers.layouts import Layout
from pin_memory.domains.readers.splits import last_fifth_or_all

_IMAGE, _LABEL = r"(\d{6}_10)\.(?:png|jpg)", r"(\d{6}_10)\.png"


class KITTI(Domain):
    """KITTI: grey PNGs of Cityscapes label ids; frames are about 1242 x 375, of several sizes.

    There is no official split of the labelled frames: as a source, the last fifth by name is validated on and the rest trained on; a
    target is evaluated on all of them. With a `split_file`, a target is evaluated on the list of "val": lists of "test" name frames of
    `testing/`, which have no labels, though their names are among those of `training/`, too.
    """

    title = "KITTI semantics"
    tree = """
training/image_2/<number>_10.png
training/semantic/<number>_10.png
(or both below data_semantics/; or images/<number>_10.png and labels/<number>_10.png; images also .jpg)
"""
    download = "data_semantics.zip from cvlibs.net/datasets/kitti (semantic segmentation; after registration)"
    table = LABEL_IDS
    layouts = tuple(
        Layout(name, *folders, _IMAGE, _LABEL, encoding="labelIds", raw_ids=range(34), class_names=LABEL_NAMES)
        for name, folders in {
            "as published": ("training/image_2", "training/semantic"),
            "images and labels": ("images", "labels"),
        }.items()
    )
    inner_roots = ("", "data_semantics")
    split_rule = staticmethod(last_fifth_or_all)
    official_counts = {"train": 160, "val": 40, "test": 200}
