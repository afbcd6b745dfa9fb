"""RobustNet (Choi, Jung, Yun, Kim, Kim, Choo, CVPR 2021): instance selective whitening, trained as ERM."""

from collections.abc import Mapping
from typing import ClassVar

from pin_memory.methods.erm import ERM
from pin_memory.utils.errors import ConfigurationError


class ISW(ERM):
    """ERM with the whitening loss of `InstanceSelectiveWhitening`."""

    name: ClassVar[str] = "isw"

    def check_sources(self, batch_sizes: Mapping[str, int]) -> None:
        """Refuse a method without its loss in addition to what ERM refuses."""
        super().check_sources(batch_sizes)
        if self.whitening is None:
            raise ConfigurationError(
                "method=isw needs a whitening loss, found method.whitening=null: leave that out (in Python: give the method one)."
            )
