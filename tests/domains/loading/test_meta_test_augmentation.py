"""The augmentation of the meta-test side goes where the method's split goes."""

import pickle
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from pin_memory.domains import GTAVDataModule, Loading, MultiSourceDataModule, TrainTransform
from pin_memory.domains.loading.transforms import MetaTestAugmentation
from pin_memory.methods.batches import DomainSplit
from pin_memory.utils.errors import ConfigurationError
from tests.domains.readers.domain_cases import write_grey, write_image

NAMES = ("a", "b", "c")


class Constant:
    """An augmentation that is recognised by its pixels."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, image: np.ndarray, label: np.ndarray, seed: int | None = None) -> tuple[Tensor, Tensor]:
        return torch.full((3, 2, 2), self.value), torch.zeros(2, 2, dtype=torch.int64)


def module(root: Path, workers: int = 0) -> MultiSourceDataModule:
    """Three sources of five training images each, in batches of two."""
    for name in NAMES:
        for number in range(1, 7):
            write_image(root / name / "images" / f"{number:05}.png", 4, 4)
            write_grey(root / name / "labels" / f"{number:05}.png", np.zeros((4, 4), np.uint8))
    loading = Loading(batch_size=2, num_workers=workers)
    sources = {name: GTAVDataModule(root / name, Constant(0.0), loading) for name in NAMES}
    return MultiSourceDataModule(sources, split=DomainSplit(seed=3), meta_test_augmentation=Constant(1.0))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_meta_test_side_of_every_iteration_gets_its_augmentation(tmp_path: Path, workers: int) -> None:
    sides = set()
    for iteration, batch in enumerate(islice(module(tmp_path, workers).train_dataloader(), 12)):
        meta_test = DomainSplit(seed=3)(NAMES, iteration)[1]
        assert [name for name in NAMES if bool((batch[name]["image"] == 1).all())] == [name for name in NAMES if name in meta_test]
        assert all(bool((batch[name]["image"] == 0).all()) for name in NAMES if name not in meta_test)
        sides.add(tuple(sorted(meta_test)))
    assert len(sides) > 2


def test_a_resumed_run_continues_with_the_right_side(tmp_path: Path) -> None:
    data = module(tmp_path)
    data.trainer = SimpleNamespace(global_step=4, training=True)  # type: ignore[assignment]
    found = [bool((batch["a"]["image"] == 1).all()) for batch in islice(data.train_dataloader(), 6)]
    assert found == ["a" in DomainSplit(seed=3)(NAMES, iteration)[1] for iteration in range(4, 10)]


def test_it_survives_pickling(tmp_path: Path) -> None:
    dataset = module(tmp_path).train_dataloader().loaders["b"].domain
    assert pickle.loads(pickle.dumps(dataset)).transform.name == "b"


def test_it_needs_a_split(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"data\.split"):
        MultiSourceDataModule(meta_test_augmentation=Constant(1.0))


def test_the_other_side_changes_colours_alone() -> None:
    """Crop, scale and flip are those of the source, whatever the harder augmentation says of them."""
    own = TrainTransform(crop_size=32, scale=(0.8, 1.2), flip=0.5, jitter_probability=0.0, blur_sigma=None)
    harder = TrainTransform(crop_size=768, scale=(0.1, 9.0), flip=0.0, color_jitter=(0.8, 0.8, 0.8, 0.3), jitter_probability=1.0)
    sources = {"a": GTAVDataModule("a", own), "b": GTAVDataModule("b", own)}
    data = MultiSourceDataModule(sources, split=DomainSplit(seed=3), meta_test_augmentation=harder)
    by_side = data._augmentation("a")
    assert isinstance(by_side, MetaTestAugmentation)
    generator = np.random.default_rng(1)
    image, label = generator.integers(0, 256, (48, 48, 3), np.uint8), generator.integers(0, 19, (48, 48), np.uint8)
    for seed in range(20):
        (plain, plain_label), (hard, hard_label) = (part(image, label, seed) for part in (by_side.meta_train, by_side.meta_test))
        assert torch.equal(plain_label, hard_label)
        assert not torch.equal(plain, hard)
