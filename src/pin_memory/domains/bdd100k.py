"""BDD100K semantic segmentation, the "10k" images (Yu et al., CVPR 2020): 7,000 training and 1,000 validation frames."""

from typing import ClassVar

from pin_memory.domains.base import Domain
from pin_memory.domains.classes import CLASSES, label_table
from pin_memory.domains.data_module import DomainDataModule
from pin_memory.domains.layouts import TRAIN_AND_VAL, Layout


class BDD100K(Domain):
    """BDD100K: JPEG images and PNGs that hold train ids already. Tested on the validation split."""

    title: ClassVar[str] = "BDD100K (10k, semantic segmentation)"
    tree: ClassVar[str] = """
images/10k/{train,val}/<name>.jpg
labels/sem_seg/masks/{train,val}/<name>.png
"""
    download: ClassVar[str] = "bdd100k_images_10k.zip, bdd100k_sem_seg_labels_trainval.zip from bdd-data.berkeley.edu (after registration)"
    table = label_table(list(range(len(CLASSES))))

    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout("as published", "images/10k/{split}", "labels/sem_seg/masks/{split}", r"(.+)\.jpg", r"(.+)\.png", TRAIN_AND_VAL),
    )


class BDD100KDataModule(DomainDataModule):
    """BDD100K as a data module."""

    reader = BDD100K
