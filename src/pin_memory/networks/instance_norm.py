"""Instance normalisation in a ResNet: IBN-Net (Pan et al., ECCV 2018) and the places of RobustNet's whitening (Choi et al., CVPR 2021).

Both normalise three maps: the stem's, in place of its batch norm, and the residual sum of the last block of stages 1 and 2, before its
ReLU. IBN-Net's norms have a learned scale and shift; RobustNet's have none, so that its loss sees standardised channels.
"""

from torch import Tensor, nn
from torchvision.models import ResNet
from torchvision.models.resnet import BasicBlock, Bottleneck

KINDS = ("none", "ibn", "isw")


class NormalisedBlock(nn.Module):
    """A torchvision block, whose tensors keep their names, with an instance norm between its residual sum and its last ReLU."""

    def __init__(self, block: BasicBlock | Bottleneck, affine: bool) -> None:
        super().__init__()
        for name, layer in block.named_children():
            if name != "relu":
                self.add_module(name, layer)
        convolutions = 3 if isinstance(block, Bottleneck) else 2
        self._layers = [(f"conv{i}", f"bn{i}") for i in range(1, convolutions + 1)]
        channels = self.get_submodule(self._layers[-1][1]).num_features
        assert isinstance(channels, int)
        self.instance_norm = nn.InstanceNorm2d(channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        return self.normalised(x).relu()

    def normalised(self, x: Tensor) -> Tensor:
        """The normalised residual sum, which the ReLU has not cut yet."""
        shortcut = self.get_submodule("downsample")(x) if "downsample" in self._modules else x
        for index, (conv, norm) in enumerate(self._layers):
            x = self.get_submodule(norm)(self.get_submodule(conv)(x if index == 0 else x.relu()))
        return self.instance_norm(x + shortcut)


def place_instance_norms(net: ResNet, affine: bool) -> None:
    """Put instance norms, with a learned scale and shift if `affine`, at the three places of a torchvision ResNet that has its weights.

    A learned norm takes over scale and shift of the stem's batch norm, as the released code does with ImageNet weights.
    """
    stem = nn.InstanceNorm2d(net.bn1.num_features, affine=affine)
    if affine:
        stem.load_state_dict({"weight": net.bn1.weight, "bias": net.bn1.bias})
    net.bn1 = stem
    net.relu = nn.ReLU()  # not in place: the normalised map before it may be asked for
    for stage in (net.layer1, net.layer2):
        stage[-1] = NormalisedBlock(stage[-1], affine)
