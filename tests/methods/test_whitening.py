"""RobustNet's loss and its choice of covariances against plain loops."""

import itertools
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pin_memory.memory import CategoricalMemory
from pin_memory.methods import ISW, InstanceSelectiveWhitening
from pin_memory.methods.whitening import _sensitive, covariance, lowest_cluster
from pin_memory.networks import MemorySegmenter, ResNetBackbone
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.stepping import ByHand, ERMByHand, PinTheMemoryByHand
from tests.helpers.tiny import tiny_batch, tiny_segmenter

SGD = partial(torch.optim.SGD, lr=0.01)


class ISWByHand(ByHand, ISW):
    """ISW without a Trainer."""


def whitening_network(memory: bool = False) -> MemorySegmenter:
    """A small network with standardised maps."""
    torch.manual_seed(0)
    store = CategoricalMemory(4, 8, gumbel=False) if memory else None
    return MemorySegmenter(ResNetBackbone(18, 32, instance_norm="isw"), 4, 8, store, auxiliary_channels=4, dropout=0.0)


def maps_of(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_covariance_is_the_definition() -> None:
    maps = maps_of(2, 3, 4, 5)
    for image, found in zip(maps, covariance(maps), strict=True):
        flat = image.reshape(3, 20)
        for i in range(3):
            for j in range(3):
                expected = sum(float(a * b) for a, b in zip(flat[i], flat[j], strict=True)) / 19 + (1e-5 if i == j else 0)
                assert float(found[i, j]) == pytest.approx(expected, rel=1e-12)


def test_loss_is_the_mean_over_images_and_places() -> None:
    whitening = InstanceSelectiveWhitening()
    places = [maps_of(2, 3, 4, 5), maps_of(2, 4, 3, 3)]
    masks = [torch.tensor([[0, 1, 0], [0, 0, 1], [0, 0, 0]]).bool(), torch.triu(torch.ones(4, 4), 1).bool()]
    for place, mask in enumerate(masks):
        whitening.register_buffer(f"mask{place}", mask)
    expected = 0.0
    for maps, mask in zip(places, masks, strict=True):
        for image in covariance(maps):
            expected += sum(abs(float(image[i, j])) for i, j in mask.nonzero().tolist()) / int(mask.sum()) / 2 / 2
    assert float(whitening.loss(places)) == pytest.approx(expected, rel=1e-12)


def test_no_loss_before_the_choice() -> None:
    assert float(InstanceSelectiveWhitening().loss([maps_of(1, 3, 4, 4)])) == 0


def test_the_choice_is_what_changes_with_the_colours_in_every_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given the second view, the variances are those of a plain loop, and only entries that all trials choose stay."""
    network, whitening = whitening_network(), InstanceSelectiveWhitening(images=4, clusters=3)
    monkeypatch.setattr(whitening, "recolour", lambda images: images.flip(1))
    generator = torch.Generator().manual_seed(3)
    trials = [[torch.randn(2, 3, 32, 32, generator=generator) for _ in range(3)] for _ in range(2)]
    whitening.choose(network, trials, sources=2)
    network.eval()
    for place, mask in enumerate(whitening.masks):
        expected = None
        for batches in trials:
            images = torch.cat(batches[:2])  # 4 images; the third batch is not looked at
            total = 0
            for image in images:
                views = [network.encode(view[None]).whitened[place] for view in (image, image.flip(0))]
                pair = torch.stack([covariance(maps)[0] for maps in views]).double()
                total = total + pair.var(dim=0) / len(images)
            values = total[torch.triu(torch.ones_like(total), 1).bool()].detach().numpy()
            chosen = torch.triu(total > lowest_cluster(values, 3) * (1 + 1e-9), 1)
            expected = chosen if expected is None else expected & chosen
        assert expected is not None
        assert bool(mask.any())
        assert (mask != expected).float().mean() < 1e-3  # float32 sums may put an entry on the other side of the cut


def test_choosing_leaves_the_network_alone() -> None:
    network, whitening = whitening_network(), InstanceSelectiveWhitening(images=2, trials=1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    whitening.choose(network, [[torch.randn(2, 3, 32, 32)]], sources=1)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training
    assert [tuple(mask.shape) for mask in whitening.masks] == [(64, 64), (64, 64), (128, 128)]


def test_recoloured_views_differ_image_by_image() -> None:
    torch.manual_seed(0)
    images = torch.randn(1, 3, 16, 16).expand(2, -1, -1, -1) * 0.5
    first, second = InstanceSelectiveWhitening().recolour(images)
    assert not torch.allclose(first, second)
    assert not torch.allclose(first, images[0])


@pytest.mark.parametrize("by_hand", [ISWByHand, PinTheMemoryByHand])
def test_a_step_with_the_loss_differs_from_one_without(by_hand: type[ByHand]) -> None:
    """As a method of its own, and together with memory and meta-learning."""
    gradients = []
    for weight in (0.6, 0.0):
        whitening = InstanceSelectiveWhitening(weight=weight)
        network = whitening_network(memory=by_hand is PinTheMemoryByHand)
        for place, channels in enumerate((64, 64, 128)):
            whitening.register_buffer(f"mask{place}", torch.triu(torch.ones(channels, channels), 1).bool())
        method = by_hand(network, SGD, whitening=whitening).prepare()
        method.training_step(tiny_batch(side=32), 0)
        gradients.append(method.gradients["backbone.stem.0.weight"])
        assert any(name.endswith("whitening") for name in method.terms)
    assert not torch.allclose(*gradients)


def test_masks_travel_with_the_checkpoint() -> None:
    saved = ISWByHand(whitening_network(), SGD, whitening=InstanceSelectiveWhitening(images=2, trials=1))
    assert saved.whitening is not None
    saved.whitening.choose(saved.network, [[torch.randn(2, 3, 32, 32)]], sources=2)
    fresh = ISWByHand(whitening_network(), SGD, whitening=InstanceSelectiveWhitening())
    fresh.load_state_dict(saved.state_dict())
    assert fresh.whitening is not None
    assert len(fresh.whitening.masks) == 3
    assert all(torch.equal(a, b) for a, b in zip(fresh.whitening.masks, saved.whitening.masks, strict=True))


def test_mistakes_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="instance_norm=isw"):
        ERMByHand(tiny_segmenter(memory=False), SGD, whitening=InstanceSelectiveWhitening())
    with pytest.raises(ConfigurationError, match="needs a whitening loss"):
        ISWByHand(whitening_network(), SGD).check_sources({"a": 2})
    wrong: dict[str, Any]
    for wrong in ({"images": 0}, {"trials": 0}, {"clusters": 1}, {"warmup_iterations": -1}, {"color_jitter": (0.1, 0.2)}):
        with pytest.raises(ConfigurationError, match=rf"method\.whitening\.{next(iter(wrong))} "):
            InstanceSelectiveWhitening(**wrong)


def test_covariances_are_chosen_after_the_warm_up() -> None:
    """Before the iteration of that number, once."""
    network = whitening_network()
    method = ISWByHand(network, SGD, whitening=InstanceSelectiveWhitening(warmup_iterations=2, images=2, trials=1)).prepare().train()
    method._trainer = SimpleNamespace(datamodule=SimpleNamespace(data_sets=1), log_every_n_steps=0)
    method._source_images = lambda epoch: iter([torch.randn(2, 3, 32, 32)])  # type: ignore[method-assign]
    numbers = []
    for index in range(4):
        method.on_train_batch_start(tiny_batch(), index)
        numbers.append(len(method.whitening.masks))
        if index == 2:
            chosen = [mask.clone() for mask in method.whitening.masks]
        method.steps += 1
    assert numbers == [0, 0, 3, 3]
    assert all(torch.equal(mask, before) for mask, before in zip(method.whitening.masks, chosen, strict=True))


@pytest.mark.parametrize("seed", range(6))
def test_the_lowest_cluster_is_that_of_the_best_partition(seed: int) -> None:
    """Of all partitions into intervals, for groups of numbers with gaps between them."""
    generator = np.random.default_rng(seed)
    clusters = int(generator.integers(2, 5))
    values = np.sort(np.concatenate([3 * k + generator.random(int(generator.integers(1, 6))) for k in range(clusters)]))

    def squares(starts: tuple[int, ...]) -> float:
        return sum(float(((part - part.mean()) ** 2).sum()) for part in np.split(values, starts))

    best = min(itertools.combinations(range(1, len(values)), clusters - 1), key=squares)
    assert lowest_cluster(generator.permutation(values), clusters) == values[best[0] - 1]


def test_the_lowest_cluster_ends_below_the_gap() -> None:
    assert lowest_cluster(np.array([5.0, 0.2, 0.1, 5.1, 0.15, 9.0]), 3) == 0.2


def test_equal_values_are_one_cluster() -> None:
    assert lowest_cluster(np.ones(5), 3) == 1


def test_clustering_the_whole_matrix() -> None:
    """With the zeros below the diagonal the lowest cluster is lower: those of k-means over the flattened upper triangle, zeros included."""
    variance = torch.triu(torch.rand(24, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64).square() + 0.05, 1)
    above, whole = (_sensitive(variance, 3, whole_matrix) for whole_matrix in (False, True))
    cuts = [lowest_cluster(values.numpy(), 3) for values in (variance[torch.triu(torch.ones(24, 24), 1).bool()], variance.flatten())]
    assert cuts[1] < cuts[0]
    assert torch.equal(above, variance > cuts[0])
    assert torch.equal(whole, variance > cuts[1])
    assert int(whole.sum()) > int(above.sum())
