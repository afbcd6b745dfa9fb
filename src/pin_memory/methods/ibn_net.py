"""IBN-Net (Pan, Luo, Shi, Tang, ECCV 2018): learned instance normalisation in the early stages, trained as ERM."""

from collections.abc import Mapping
from typing import ClassVar

from pin_memory.methods.erm import ERM
from pin_memory.utils.errors import ConfigurationError


class IBNNet(ERM):
    """ERM on a network with `instance_norm=ibn`, the arrangement IBN-b of the released code."""

    name: ClassVar[str] = "ibn_net"

    def check_sources(self, batch_sizes: Mapping[str, int]) -> None:
        """Refuse a network without instance normalisation in addition to what ERM refuses."""
        super().check_sources(batch_sizes)
        if (found := self.network.backbone.instance_norm) != "ibn":
            raise ConfigurationError(f"method=ibn_net needs network.backbone.instance_norm=ibn, found {found}.")
