"""Floors: what they depend on, and what they leave as it was."""

from pathlib import Path

import pytest
import torch

from pin_memory.domains import CityscapesDataModule, GTAVDataModule, Loading, MultiSourceDataModule
from pin_memory.domains.stand_ins.writers import StandIns
from pin_memory.evaluation.targets import copied_weights, floor_scores, with_weights
from tests.helpers.tiny import tiny_segmenter


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stand-ins of all data sets."""
    root = tmp_path_factory.mktemp("sets")
    StandIns(root, images_per_domain=8, seed=1, width=96).prepare()
    return root


def domains(root: Path, batch: int) -> MultiSourceDataModule:
    """A source and a target, images predicted `batch` at a time."""
    loading = Loading(num_workers=0, evaluation_batch_size=batch, max_test_images=4)
    return MultiSourceDataModule(
        {"gtav": GTAVDataModule(root / "gtav", loading=loading)}, {"cityscapes": CityscapesDataModule(root / "cityscapes", loading=loading)}
    )


def test_floors_do_not_depend_on_how_many_images_are_predicted_together(data: Path) -> None:
    network = tiny_segmenter(classes=19)
    alone, together = (floor_scores(domains(data, batch), network) for batch in (1, 4))
    assert alone == together
    assert list(alone) == ["untrained network", "most frequent class", "most frequent class at each place"]
    assert alone["most frequent class at each place"]["cityscapes"] > alone["most frequent class"]["cityscapes"] > 0  # type: ignore[operator]


def test_floors_of_a_network_in_double_precision(data: Path) -> None:
    """As after a training with `trainer.precision=64-true`."""
    assert floor_scores(domains(data, 2), tiny_segmenter(classes=19).double())["untrained network"]


def test_a_network_can_be_trained_after_its_floors_were_counted(data: Path) -> None:
    """No parameter has become an inference tensor, no mode has changed."""
    network = tiny_segmenter(classes=19).train()
    floor_scores(domains(data, 1), network)
    assert all(module.training for module in network.modules())
    network.segment(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.decoder.parameters())


def test_a_network_has_other_weights_within_the_block_alone() -> None:
    network = tiny_segmenter()
    before, image = copied_weights(network), torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        first = network.eval().segment(image)
        for parameter in network.parameters():
            parameter += 1
        trained = network.segment(image)
        with with_weights(network, before):
            assert torch.equal(network.segment(image), first)
        assert torch.equal(network.segment(image), trained)
    assert not torch.equal(trained, first)
