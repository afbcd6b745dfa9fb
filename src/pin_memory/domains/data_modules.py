"""Each data set as a Lightning data module."""

from pin_memory.domains.loading.data_module import DomainDataModule
from pin_memory.domains.readers.acdc import ACDC
from pin_memory.domains.readers.bdd100k import BDD100K
from pin_memory.domains.readers.camvid import CamVid
from pin_memory.domains.readers.cityscapes import Cityscapes
from pin_memory.domains.readers.coco import COCO
from pin_memory.domains.readers.folder import FolderDomain, folder_label_space
from pin_memory.domains.readers.folder_options import EVERY_SPLIT
from pin_memory.domains.readers.gtav import GTAV
from pin_memory.domains.readers.idd import IDD
from pin_memory.domains.readers.idd_lite import IDDLite
from pin_memory.domains.readers.kitti import KITTI
from pin_memory.domains.readers.mapillary import Mapillary
from pin_memory.domains.readers.night import DarkZurich, NighttimeDriving
from pin_memory.domains.readers.synscapes import Synscapes
from pin_memory.domains.readers.synthia import Synthia
from pin_memory.domains.readers.urbansyn import UrbanSyn
from pin_memory.domains.readers.voc import VOC
from pin_memory.domains.readers.wilddash import WildDash
from pin_memory.utils.labels import LabelSpace


class ACDCDataModule(DomainDataModule):
    """ACDC, or one of its conditions, as a data module."""

    reader = ACDC


class BDD100KDataModule(DomainDataModule):
    """BDD100K as a data module."""

    reader = BDD100K


class CamVidDataModule(DomainDataModule):
    """CamVid, or some of its drives, as a data module."""

    reader = CamVid


class CityscapesDataModule(DomainDataModule):
    """Cityscapes as a data module."""

    reader = Cityscapes


class COCODataModule(DomainDataModule):
    """COCO as a data module."""

    reader = COCO


class DarkZurichDataModule(DomainDataModule):
    """Dark Zurich as a data module."""

    reader = DarkZurich


class FolderDataModule(DomainDataModule):
    """Own data as a data module."""

    reader = FolderDomain

    @property
    def label_space(self) -> LabelSpace:
        """What the train ids of the labels stand for, from the options."""
        return folder_label_space(*(self.reader_options.get(name) for name in ("classes", "colours", "palette", "label_space")))

    def evaluate_whole(self) -> None:
        """Evaluate a target on all images, unless `test_split` says which."""
        if self.reader_options.get("test_split") is None:
            self.reader_options["test_split"] = EVERY_SPLIT


class GTAVDataModule(DomainDataModule):
    """GTAV as a data module."""

    reader = GTAV


class IDDDataModule(DomainDataModule):
    """IDD as a data module."""

    reader = IDD


class IDDLiteDataModule(DomainDataModule):
    """IDD Lite as a data module."""

    reader = IDDLite


class KITTIDataModule(DomainDataModule):
    """KITTI semantics as a data module."""

    reader = KITTI


class MapillaryDataModule(DomainDataModule):
    """Mapillary Vistas as a data module."""

    reader = Mapillary


class NighttimeDrivingDataModule(DomainDataModule):
    """Nighttime Driving as a data module."""

    reader = NighttimeDriving


class SynscapesDataModule(DomainDataModule):
    """Synscapes as a data module."""

    reader = Synscapes


class SynthiaDataModule(DomainDataModule):
    """SYNTHIA as a data module."""

    reader = Synthia


class UrbanSynDataModule(DomainDataModule):
    """UrbanSyn as a data module."""

    reader = UrbanSyn


class VOCDataModule(DomainDataModule):
    """PASCAL VOC 2012, with SBD's labels, as a data module."""

    reader = VOC


class WildDashDataModule(DomainDataModule):
    """WildDash 2 as a data module."""

    reader = WildDash
