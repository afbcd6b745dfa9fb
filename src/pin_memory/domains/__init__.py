"""Data sets as domains: readers, augmentation, and the data modules that compose them."""

from pin_memory.domains.acdc import ACDC, ACDCDataModule
from pin_memory.domains.base import Domain, Draw, MissingDataError
from pin_memory.domains.bdd100k import BDD100K, BDD100KDataModule
from pin_memory.domains.camvid import CamVid, CamVidDataModule
from pin_memory.domains.cityscapes import Cityscapes, CityscapesDataModule
from pin_memory.utils.labels import CLASSES, IGNORE, PALETTE, label_table
from pin_memory.domains.dark_zurich import DarkZurich, DarkZurichDataModule
from pin_memory.domains.data_module import DomainDataModule
from pin_memory.domains.folder import FolderDataModule, FolderDomain
from pin_memory.domains.gtav import GTAV, GTAVDataModule
from pin_memory.domains.idd import IDD, IDDDataModule
from pin_memory.domains.kitti import KITTI, KITTIDataModule
from pin_memory.domains.listing import Sample
from pin_memory.domains.loading import Loading
from pin_memory.domains.mapillary import Mapillary, MapillaryDataModule
from pin_memory.domains.multi_source import MultiSourceDataModule
from pin_memory.domains.nighttime_driving import NighttimeDriving, NighttimeDrivingDataModule
from pin_memory.domains.synthia import Synthia, SynthiaDataModule
from pin_memory.domains.transforms import IMAGENET_MEAN, IMAGENET_STD, EvalTransform, TrainTransform
from pin_memory.domains.wilddash import WildDash, WildDashDataModule

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
