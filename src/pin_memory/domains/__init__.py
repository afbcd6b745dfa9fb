"""Data sets as domains: readers, augmentation, and the data modules that compose them."""

from pin_memory.domains.base import Domain, Draw, MissingDataError
from pin_memory.domains.bdd100k import BDD100K, BDD100KDataModule
from pin_memory.domains.camvid import CamVid, CamVidDataModule
from pin_memory.domains.cityscapes import Cityscapes, CityscapesDataModule
from pin_memory.domains.classes import CLASSES, IGNORE, PALETTE, label_table
from pin_memory.domains.data_module import DomainDataModule, Loading
from pin_memory.domains.gtav import GTAV, GTAVDataModule
from pin_memory.domains.idd import IDD, IDDDataModule
from pin_memory.domains.listing import Sample
from pin_memory.domains.mapillary import Mapillary, MapillaryDataModule
from pin_memory.domains.multi_source import MultiSourceDataModule
from pin_memory.domains.synthia import Synthia, SynthiaDataModule
from pin_memory.domains.transforms import IMAGENET_MEAN, IMAGENET_STD, EvalTransform, TrainTransform

__all__ = [
    "BDD100K",
    "CLASSES",
    "GTAV",
    "IDD",
    "IGNORE",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "PALETTE",
    "BDD100KDataModule",
    "CamVid",
    "CamVidDataModule",
    "Cityscapes",
    "CityscapesDataModule",
    "Domain",
    "DomainDataModule",
    "Draw",
    "EvalTransform",
    "GTAVDataModule",
    "IDDDataModule",
    "Loading",
    "Mapillary",
    "MapillaryDataModule",
    "MissingDataError",
    "MultiSourceDataModule",
    "Sample",
    "Synthia",
    "SynthiaDataModule",
    "TrainTransform",
    "label_table",
]
