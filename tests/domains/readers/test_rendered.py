"""UrbanSyn and Synscapes: rendered frames without an official split."""

from pathlib import Path
from typing import ClassVar

from pin_memory.domains import SynscapesDataModule, UrbanSynDataModule
from tests.domains.readers.domain_cases import IndexLabelCase, Tree, write_grey, write_image
from tests.domains.readers.test_acdc import LABEL_IDS


class TestUrbanSyn(IndexLabelCase):
    name = "urbansyn"
    module = UrbanSynDataModule
    expected: ClassVar = {**{train_id: train_id for train_id in range(19)}, 19: 255, 255: 255}
    written: ClassVar = {"": 10}
    sizes: ClassVar = {"train": 8, "val": 2, "test": 2}
    image = "rgb/rgb_{number:04}.png"
    label = "ss/ss_{number:04}.png"
    trees: ClassVar = [Tree("as published", "UrbanSyn/rgb/rgb_{number:04}.png", "UrbanSyn/ss/ss_{number:04}.png", write_grey)]

    def test_values_that_labels_may_hold(self, clean: Path) -> None:
        assert set(self.open(clean).raw_ids or ()) == {*range(20), 255}


class TestSynscapes(IndexLabelCase):
    name = "synscapes"
    module = SynscapesDataModule
    expected: ClassVar = LABEL_IDS
    written: ClassVar = {"": 10}
    sizes: ClassVar = {"train": 8, "val": 2, "test": 2}
    image = "img/rgb/{number}.png"
    label = "img/class/{number}.png"
    trees: ClassVar = [Tree("as published", "Synscapes/img/rgb/{number}.png", "Synscapes/img/class/{number}.png", write_grey)]

    def test_enlarged_images_are_not_read(self, root: Path) -> None:
        names = [sample.image for sample in self.open(root).samples]
        for number in range(10):
            write_image(root / f"img/rgb-2k/{number}.png", 24, 24)
        assert [sample.image for sample in self.open(root).samples] == names
