"""After PPAR (Zhang et al., IEEE T-ITS 2025): progressive alignment with text prototypes and reweighting, trained as ERM."""

from collections.abc import Mapping
from typing import ClassVar

from pin_memory.methods.erm import ERM
from pin_memory.utils.errors import ConfigurationError


class PPAR(ERM):
    """ERM with the losses and the weights of `TextAlignmentLoss`."""

    name: ClassVar[str] = "ppar"

    def check_sources(self, batch_sizes: Mapping[str, int]) -> None:
        """Refuse a method without its losses in addition to what ERM refuses."""
        super().check_sources(batch_sizes)
        if self.alignment is None:
            raise ConfigurationError(
                "method=ppar needs an alignment with text, found method.alignment=null: leave that out (in Python: give the method one)."
            )
