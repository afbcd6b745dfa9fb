"""Batch norm by other statistics than the running ones, against the definition."""

import copy

import pytest
import torch
from torch import nn

from pin_memory.inference import TestStatistics, predict_whole
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.tiny import tiny_segmenter


def images(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 + 1


def small_network() -> nn.Sequential:
    """Convolution and batch norm with moved statistics, in eval mode."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    network(images() - 3)
    return network.eval()


def test_batch_statistics_are_those_of_training_mode() -> None:
    network = small_network()
    with TestStatistics("batch").applied(network):
        found = network(images())
    torch.testing.assert_close(found, copy.deepcopy(network).train()(images()))
    assert not torch.allclose(found, network(images()))


def test_a_share_blends_mean_and_variance() -> None:
    network = small_network()
    x = network[0](images())
    norm = network[1]
    mean = 0.7 * norm.running_mean + 0.3 * x.mean(dim=(0, 2, 3))
    variance = 0.7 * norm.running_var + 0.3 * x.var(dim=(0, 2, 3), correction=0)
    mean, variance, weight, bias = (values[:, None, None] for values in (mean, variance, norm.weight, norm.bias))
    expected = (x - mean) / (variance + norm.eps).sqrt() * weight + bias
    with TestStatistics("batch", 0.3).applied(network):
        torch.testing.assert_close(network(images()), expected)


@pytest.mark.parametrize("policy", ["running", "image", "batch"])
def test_nothing_stays_behind(policy: str) -> None:
    network = small_network()
    before = copy.deepcopy(network)
    with TestStatistics(policy).applied(network):
        network(images())
    assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), before.state_dict().values(), strict=True))
    torch.testing.assert_close(network(images()), before(images()))


def test_image_statistics_do_not_depend_on_the_other_images() -> None:
    """Also with a pooled branch of a single value per channel, which the running statistics normalise."""
    network = tiny_segmenter().eval()
    together = predict_whole(network, images(), statistics=TestStatistics("image"))
    alone = torch.cat([predict_whole(network, image[None], statistics=TestStatistics("batch")) for image in images()])
    assert torch.equal(together, alone)


def test_running_is_plain_prediction() -> None:
    network = tiny_segmenter().eval()
    assert torch.equal(predict_whole(network, images()), network(images()).argmax(1))


@pytest.mark.parametrize(("policy", "share"), [("target", 1.0), ("image", 1.5)])
def test_mistakes_are_refused(policy: str, share: float) -> None:
    with pytest.raises(ConfigurationError, match="running, image, batch"):
        TestStatistics(policy, share)


def test_how_it_is_recorded() -> None:
    assert str(TestStatistics()) == "running"
    assert str(TestStatistics("batch")) == "batch"
    assert str(TestStatistics("image", 0.5)) == "image, share 0.5"
