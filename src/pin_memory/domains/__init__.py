"""Data sets as domains: readers, augmentation, and the data modules that compose them."""

from pin_memory.domains.readers.acdc import ACDC, ACDCDataModule
from pin_memory.domains.readers.base import Domain, Draw, MissingDataError
from pin_memory.domains.readers.bdd100k import BDD100K, BDD100KDataModule
from pin_memory.domains.readers.camvid import CamVid, CamVidDataModule
from pin_memory.domains.readers.cityscapes import Cityscapes, CityscapesDataModule
from pin_memory.utils.labels import CLASSES, IGNORE, PALETTE, label_table
from pin_memory.domains.readers.dark_zurich import DarkZurich, DarkZurichDataModule
from pin_memory.domains.loading.data_module import DomainDataModule
from pin_memory.domains.readers.folder import FolderDataModule, FolderDomain
from pin_memory.domains.readers.gtav import GTAV, GTAVDataModule
from pin_memory.domains.readers.idd import IDD, IDDDataModule
from pin_memory.domains.readers.kitti import KITTI, KITTIDataModule
from pin_memory.domains.readers.listing import Sample
from pin_memory.domains.loading.settings import Loading
from pin_memory.domains.readers.mapillary import Mapillary, MapillaryDataModule
from pin_memory.domains.loading.multi_source import MultiSourceDataModule
from pin_memory.domains.readers.nighttime_driving import NighttimeDriving, NighttimeDrivingDataModule
from pin_memory.domains.readers.synthia import Synthia, SynthiaDataModule
from pin_memory.domains.loading.transforms import EvalTransform, IMAGENET_MEAN, IMAGENET_STD, TrainTransform
from pin_memory.domains.readers.wilddash import WildDash, WildDashDataModule

__all__ = [
    "ACDC",
    "BDD100K",
    "CLASSES",
    "GTAV",
    "IDD",
    "IGNORE",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "KITTI",
    "PALETTE",
    "ACDCDataModule",
    "BDD100KDataModule",
    "CamVid",
    "CamVidDataModule",
    "Cityscapes",
    "CityscapesDataModule",
    "DarkZurich",
    "DarkZurichDataModule",
    "Domain",
    "DomainDataModule",
    "Draw",
    "EvalTransform",
    "FolderDataModule",
    "FolderDomain",
    "GTAVDataModule",
    "IDDDataModule",
    "KITTIDataModule",
    "Loading",
    "Mapillary",
    "MapillaryDataModule",
    "MissingDataError",
    "MultiSourceDataModule",
    "NighttimeDriving",
    "NighttimeDrivingDataModule",
    "Sample",
    "Synthia",
    "SynthiaDataModule",
    "TrainTransform",
    "WildDash",
    "WildDashDataModule",
    "label_table",
]
