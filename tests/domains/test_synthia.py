from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from pin_memory.domains import Synthia, SynthiaDataModule
from pin_memory.errors import DataError
from tests.domains.domain_cases import DomainCase, stripes, write_grey, write_image


class TestSynthia(DomainCase):
    name = "synthia"
    module = SynthiaDataModule
    expected: ClassVar = {
        **{1: 10, 2: 2, 3: 0, 4: 1, 5: 4, 6: 8, 7: 5, 8: 13, 9: 7, 10: 11, 11: 18, 12: 17, 15: 6, 16: 9, 17: 12, 18: 14, 19: 15},
        **{20: 16, 21: 3, 0: 255, 13: 255, 14: 255, 22: 255, 23: 255, 255: 255},
    }
    written: ClassVar = {"": 10}
    sizes: ClassVar = {"train": 8, "val": 2, "test": 2}

    def image_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"RAND_CITYSCAPES/RGB/{number:07}.png"

    def label_path(self, root: Path, split: str, number: int) -> Path:
        return root / f"RAND_CITYSCAPES/GT/LABELS/{number:07}.png"

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((*raw.shape, 3), np.uint16)
        pixels[..., 2] = raw
        # The instance number, above 255 so that an 8-bit reader shows it.
        pixels[..., 1] = 300
        cv2.imwrite(str(path), pixels)

    def test_folders_directly_below_the_root(self, root: Path) -> None:
        assert len(Synthia(root / "RAND_CITYSCAPES", "train")) == 8

    def test_ids_beyond_8_bits_are_ignored(self, root: Path) -> None:
        sample = self.open(root).samples[0]
        pixels = np.zeros((2, 2, 3), np.uint16)
        # Cut to 8 bits, these would be road and sky.
        pixels[..., 2] = [[3, 256 + 3], [513, 65535]]
        cv2.imwrite(str(sample.label), pixels)
        assert self.open(root).read_label(sample).tolist() == [[0, 255], [255, 255]]

    def test_labels_of_another_encoding_are_refused(self, root: Path) -> None:
        domain = self.open(root)
        sample = domain.samples[0]
        write_image(sample.label, 12, 30)
        with pytest.raises(DataError, match=r"3 channel.* of uint8"):
            domain[0]
        write_grey(sample.label, stripes([1, 2]))
        with pytest.raises(DataError, match=r"1 channel.* of uint8") as error:
            domain[0]
        assert str(sample.label) in str(error.value)
