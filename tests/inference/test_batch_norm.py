"""Batch norm by other statistics than the running ones, against the definition."""

import copy
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from torch import nn

from pin_memory.inference import WHOLE, BatchNormStatistics
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
    with BatchNormStatistics("batch").applied(network):
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
    with BatchNormStatistics("batch", 0.3).applied(network):
        torch.testing.assert_close(network(images()), expected)


@pytest.mark.parametrize("policy", ["running", "image", "batch"])
def test_the_network_is_unchanged_after_the_block(policy: str) -> None:
    network = small_network()
    before = copy.deepcopy(network)
    with BatchNormStatistics(policy).applied(network):
        network(images())
    assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), before.state_dict().values(), strict=True))
    torch.testing.assert_close(network(images()), before(images()))


def test_blocks_can_be_nested() -> None:
    """The innermost one counts, and the outer one is back after it."""
    network = small_network()
    expected = {share: blended(network, share) for share in (0.3, 1.0)}
    assert not torch.allclose(expected[0.3], expected[1.0])
    with BatchNormStatistics("batch").applied(network):
        with BatchNormStatistics("batch", 0.3).applied(network):
            assert torch.equal(network(images()), expected[0.3])
        assert torch.equal(network(images()), expected[1.0])


def blended(network: nn.Module, share: float) -> torch.Tensor:
    with BatchNormStatistics("batch", share).applied(network):
        return network(images())


def test_threads_do_not_see_each_other() -> None:
    """Each predicts by its own policy with the network that they share, while the other is within its block."""
    network = small_network()
    expected = [network(images()), blended(network, 0.3), blended(network, 1.0)]
    policies = [BatchNormStatistics(), BatchNormStatistics("batch", 0.3), BatchNormStatistics("batch")]
    barrier = Barrier(len(policies), timeout=60)

    def predict(statistics: BatchNormStatistics) -> torch.Tensor:
        with statistics.applied(network):
            barrier.wait()
            found = network(images())
            barrier.wait()
        return found

    with ThreadPoolExecutor(len(policies)) as pool:
        for found, right in zip(pool.map(predict, policies), expected, strict=True):
            assert torch.equal(found, right)


def test_other_networks_are_left_as_they_are() -> None:
    network, other = small_network(), small_network()
    expected = other(images())
    with BatchNormStatistics("batch").applied(network):
        assert torch.equal(other(images()), expected)


def test_image_statistics_do_not_depend_on_the_other_images() -> None:
    """Also with a pooled branch of a single value per channel, which the running statistics normalise."""
    network = tiny_segmenter().eval()
    together = WHOLE.predict(network, images(), statistics=BatchNormStatistics("image"))
    by_itself = torch.cat([WHOLE.predict(network, image[None], statistics=BatchNormStatistics("batch")) for image in images()])
    assert torch.equal(together, by_itself)


def test_running_is_the_forward_pass_itself() -> None:
    network = tiny_segmenter().eval()
    assert torch.equal(WHOLE.predict(network, images()), network(images()).argmax(1))


@pytest.mark.parametrize(
    ("policy", "share", "message"),
    [
        ("target", 1.0, "test_statistics.policy must be 'running', 'image' or 'batch', found 'target'"),
        ("image", 1.5, r"test_statistics.share .* found 1\.5"),
    ],
)
def test_invalid_settings_are_refused(policy: str, share: float, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        BatchNormStatistics(policy, share)


def test_how_it_is_recorded() -> None:
    assert str(BatchNormStatistics()) == "running"
    assert str(BatchNormStatistics("batch")) == "batch"
    assert str(BatchNormStatistics("image", 0.5)) == "image, share 0.5"
