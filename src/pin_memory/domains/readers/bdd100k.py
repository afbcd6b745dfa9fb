"""BDD100K semantic segmentation, the "10k" images (Yu et al., CVPR 2020): 7,000 training and 1,000 validation frames."""

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.layouts import TRAIN_AND_VAL, TRAIN_IDS, Layout
from pin_memory.utils.labels import TRAIN_ID_TABLE

_TREES = {
    "as published": ("images/10k", "labels/sem_seg/masks"),
    "bdd100k_seg (2018)": ("seg/images", "seg/labels"),
    "images and labels (2018 or RobustNet)": ("images", "labels"),
}
_ENDINGS = {"": r"(.+)(?<!_train_id)\.png", ", _train_id.png": r"(.+)_train_id\.png"}


class BDD100K(Domain):
    """BDD100K: JPEG images and PNGs that hold train ids already. Evaluated on the validation split.

    Some releases of the images and of the labels do not match: image and label are paired by their stems, and what is left over is noted.
    """

    title = "BDD100K (10k, semantic segmentation)"
    tree = """
images/10k/{train,val}/<name>.jpg
labels/sem_seg/masks/{train,val}/<name>.png
(or both below bdd100k/; or seg/images and seg/labels of the 2018 release, with <name>_train_id.png)
"""
    download = "bdd100k_images_10k.zip, bdd100k_sem_seg_labels_trainval.zip from bdd-data.berkeley.edu (after registration)"
    table = TRAIN_ID_TABLE
    layouts = tuple(
        Layout(tree + ending, f"{images}/{{split}}", f"{labels}/{{split}}", r"(.+)\.jpg", label, TRAIN_AND_VAL, "train ids", **TRAIN_IDS)
        for tree, (images, labels) in _TREES.items()
        for ending, label in _ENDINGS.items()
    )
    inner_roots = ("", "bdd100k", "bdd-100k")
    official_counts = {"train": 7000, "val": 1000}
    unmatched = "report"
