"""Synchronised batch norm keeps what timm's layers do after the normalisation."""

import copy

import pytest
import timm
import torch
from torch import nn

from pin_memory.utils.sync_batch_norm import SyncBatchNorm


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv4_conv_small", "resnet18"])
def test_conversion_and_back_change_no_output(name: str) -> None:
    """In evaluation mode, where no process has to be asked; PyTorch's own conversion loses the activations of two of these networks."""
    torch.manual_seed(0)
    network = timm.create_model(name, features_only=True)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.bias)
    network.eval()
    images = torch.randn(2, 3, 64, 64)
    plugin = SyncBatchNorm()
    with torch.inference_mode():
        expected = network(images)[-1]
        converted = plugin.apply(copy.deepcopy(network))
        assert any(isinstance(module, nn.SyncBatchNorm) for module in converted.modules())
        assert torch.equal(converted(images)[-1], expected)
        back = plugin.revert(converted).eval()
        assert not any(isinstance(module, nn.SyncBatchNorm) for module in back.modules())
        assert torch.equal(back(images)[-1], expected)
        plain = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(network))
        assert torch.equal(plain(images)[-1], expected) == (name == "resnet18")
    assert back.state_dict().keys() == network.state_dict().keys()
