"""BDD100K semantic segmentation, the "10k" images (Yu et al., CVPR 2020): 7,000 training and 1,000 validation frames."""

from typing import ClassVar

import numpy as np

from pin_memory.domains.base import Domain
from pin_memory.domains.classes import CLASSES, label_table
from pin_memory.domains.data_module import DomainDataModule
from pin_memory.domains.listing import Sample, find_files


class BDD100K(Domain):
    """BDD100K: JPEG images and PNGs that hold train ids already. Tested on the validation split."""

    title: ClassVar[str] = "BDD100K (10k, semantic segmentation)"
    tree: ClassVar[str] = """
images/10k/{train,val}/<name>.jpg
labels/sem_seg/masks/{train,val}/<name>.png
"""
    download: ClassVar[str] = "bdd100k_images_10k.zip, bdd100k_sem_seg_labels_trainval.zip from bdd-data.berkeley.edu (after registration)"
    table: ClassVar[np.ndarray] = label_table(list(range(len(CLASSES))))

    def find_samples(self) -> list[Sample]:
        """List the frames of the split."""
        split = "train" if self.split == "train" else "val"
        images = find_files(self.folder(f"images/10k/{split}"), r"(.+)\.jpg")
        labels = find_files(self.folder(f"labels/sem_seg/masks/{split}"), r"(.+)\.png")
        return self.pair(images, labels)


class BDD100KDataModule(DomainDataModule):
    """BDD100K as a data module."""

    reader = BDD100K
