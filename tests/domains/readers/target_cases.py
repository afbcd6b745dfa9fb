"""The test case for data sets that have labels to evaluate on, but none to train on."""

from pathlib import Path
from typing import ClassVar

import pytest
from hydra.utils import instantiate

from pin_memory.domains import Domain
from pin_memory.utils.errors import ConfigurationError, DataError
from tests.domains.readers.domain_cases import IndexLabelCase, compose_domain


class TargetCase(IndexLabelCase):
    """As for every reader; what the case asks of the training split is asked of the frames that there are."""

    written: ClassVar = {"val": 4}
    sizes: ClassVar = {"train": 4, "val": 4, "test": 4}

    def open(self, root: Path, split: str = "train") -> Domain:
        return super().open(root, "val" if split == "train" else split)

    def test_lists_the_splits(self, root: Path) -> None:
        val, test = ([sample.name for sample in self.open(root, split).samples] for split in ("val", "test"))
        assert val == test == sorted(set(val))
        assert len(val) == 4
        assert not any("/" in name or "." in name for name in val)

    def test_there_is_nothing_to_train_on(self, root: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"nothing to train on\. Use it as a target"):
            self.reader(root, "train")

    def test_folders_without_images_are_explained(self, root: Path) -> None:
        for file in root.rglob("*.*"):
            file.unlink()
        with pytest.raises(DataError, match="no image for the split 'val'"):
            self.open(root)

    def test_config_makes_the_data_module(self, root: Path, tmp_path: Path) -> None:
        config = compose_domain(self.name, root.parent)
        module = instantiate(config.domain)
        assert type(module) is self.module
        module.check(("test",))
        assert len(module.test_dataloader()) == 4
