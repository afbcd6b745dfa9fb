"""Data sets as domains: readers, augmentation, and the data modules that compose them."""

from pin_memory.domains.data_modules import (
    ACDCDataModule,
    BDD100KDataModule,
    CamVidDataModule,
    CityscapesDataModule,
    COCODataModule,
    DarkZurichDataModule,
    FolderDataModule,
    GTAVDataModule,
    IDDDataModule,
    IDDLiteDataModule,
    KITTIDataModule,
    MapillaryDataModule,
    NighttimeDrivingDataModule,
    SynscapesDataModule,
    SynthiaDataModule,
    UrbanSynDataModule,
    VOCDataModule,
    WildDashDataModule,
)
from pin_memory.domains.few_shot.data_module import EpisodeDataModule
from pin_memory.domains.loading.corruptions import Corruption
from pin_memory.domains.loading.data_module import DomainDataModule
from pin_memory.domains.loading.multi_source import MultiSourceDataModule
from pin_memory.domains.loading.settings import Loading
from pin_memory.domains.loading.transforms import TrainTransform
from pin_memory.domains.readers.acdc import ACDC
from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.bdd100k import BDD100K
from pin_memory.domains.readers.camvid import CamVid
from pin_memory.domains.readers.cityscapes import Cityscapes
from pin_memory.domains.readers.coco import COCO
from pin_memory.domains.readers.draws import Draw
from pin_memory.domains.readers.folder import FolderDomain
from pin_memory.domains.readers.gtav import GTAV
from pin_memory.domains.readers.idd import IDD
from pin_memory.domains.readers.idd_lite import IDDLite
from pin_memory.domains.readers.kitti import KITTI
from pin_memory.domains.readers.label_spaces import SharedLabelSpace
from pin_memory.domains.readers.layouts import MissingDataError, Sample
from pin_memory.domains.readers.mapillary import Mapillary
from pin_memory.domains.readers.night import DarkZurich, NighttimeDriving
from pin_memory.domains.readers.synscapes import Synscapes
from pin_memory.domains.readers.synthia import Synthia
from pin_memory.domains.readers.urbansyn import UrbanSyn
from pin_memory.domains.readers.voc import VOC
from pin_memory.domains.readers.wilddash import WildDash
from pin_memory.utils.images import IMAGENET_MEAN, IMAGENET_STD, normalize, to_tensors
from pin_memory.utils.labels import CLASSES, IGNORE, PALETTE, label_table

__all__ = [
    "ACDC",
    "BDD100K",
    "CLASSES",
    "COCO",
    "GTAV",
    "IDD",
    "IGNORE",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "KITTI",
    "PALETTE",
    "VOC",
    "ACDCDataModule",
    "BDD100KDataModule",
    "COCODataModule",
    "CamVid",
    "CamVidDataModule",
    "Cityscapes",
    "CityscapesDataModule",
    "Corruption",
    "DarkZurich",
    "DarkZurichDataModule",
    "Domain",
    "DomainDataModule",
    "Draw",
    "EpisodeDataModule",
    "FolderDataModule",
    "FolderDomain",
    "GTAVDataModule",
    "IDDDataModule",
    "IDDLite",
    "IDDLiteDataModule",
    "KITTIDataModule",
    "Loading",
    "Mapillary",
    "MapillaryDataModule",
    "MissingDataError",
    "MultiSourceDataModule",
    "NighttimeDriving",
    "NighttimeDrivingDataModule",
    "Sample",
    "SharedLabelSpace",
    "Synscapes",
    "SynscapesDataModule",
    "Synthia",
    "SynthiaDataModule",
    "TrainTransform",
    "UrbanSyn",
    "UrbanSynDataModule",
    "VOCDataModule",
    "WildDash",
    "WildDashDataModule",
    "label_table",
    "normalize",
    "to_tensors",
]
