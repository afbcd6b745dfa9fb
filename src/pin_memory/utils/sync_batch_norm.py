"""Batch norm that goes by the images of all devices, for networks of timm, too.

timm has layers that are batch norm and activation in one. PyTorch's conversion, which Lightning calls, makes plain batch norm of them: the
activation would be lost without notice, when training starts and when it ends.
"""

import sys

from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class SyncBatchNorm(TorchSyncBatchNorm):
    """Converts all batch norms of a model, and back."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Synchronise the batch norms of `model`; those of timm keep their activation."""
        if "timm" not in sys.modules:  # then no layer is from there
            return super().apply(model)
        from timm.layers import convert_sync_batchnorm

        return convert_sync_batchnorm(model)

    def revert(self, model: nn.Module) -> nn.Module:
        """Undo `apply`."""
        model = super().revert(model)
        for module in model.modules():
            if isinstance(module, _BatchNorm) and {"act", "drop"} <= dict(module.named_children()).keys():
                from timm.layers import BatchNormAct2d

                module.__class__ = BatchNormAct2d
        return model
