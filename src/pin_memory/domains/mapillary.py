"""Mapillary Vistas v1.2 (Neuhold et al., ICCV 2017): 18,000 training and 2,000 validation images of many sizes."""

from typing import ClassVar

from pin_memory.domains.base import Domain
from pin_memory.domains.classes import label_table
from pin_memory.domains.data_module import DomainDataModule
from pin_memory.domains.layouts import Layout

# The v1.2 class of each train id, as the domain generalisation papers map them (there is no official map); all others are ignored.
_TRAIN_IDS = {
    **{13: 0, 24: 0, 41: 0},  # road, lane marking, manhole
    **{2: 1, 15: 1},  # curb, sidewalk
    **{17: 2, 6: 3, 3: 4},  # building, wall, fence
    **{45: 5, 47: 5, 48: 6, 50: 7},  # pole, utility pole, traffic light, traffic sign (front)
    **{30: 8, 29: 9, 27: 10},  # vegetation, terrain, sky
    **{19: 11, 20: 12, 21: 12, 22: 12},  # person, bicyclist, motorcyclist, other rider
    **{55: 13, 61: 14, 54: 15, 58: 16, 57: 17, 52: 18},  # car, truck, bus, on rails, motorcycle, bicycle
}
_FOLDERS = {"train": "training", "val": "validation"}


class Mapillary(Domain):
    """Mapillary Vistas: JPEG images and palette PNGs whose index is the v1.2 class. Tested on the validation split."""

    title: ClassVar[str] = "Mapillary Vistas v1.2"
    tree: ClassVar[str] = """
training/{images/<key>.jpg,labels/<key>.png}
validation/{images/<key>.jpg,labels/<key>.png}
"""
    download: ClassVar[str] = "the archive of version 1.2 from mapillary.com/dataset/vistas (after registration)"
    table = label_table(_TRAIN_IDS)

    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout(
            "v1.2 as published", "{split}/images", "{split}/labels", r"(.+)\.jpg", r"(.+)\.png", {"train": "training", "val": "validation"}
        ),
    )


class MapillaryDataModule(DomainDataModule):
    """Mapillary Vistas as a data module."""

    reader = Mapillary
