"""What the network of a run is called."""

from collections.abc import Mapping

from torch import nn


def network_name(network: nn.Module, choices: Mapping[str, str]) -> str:
    """The chosen option of the group `network`, or the class of what is the user's own: the network, or the backbone in it.

    Args:
        network: As it was built.
        choices: The options of the groups.
    """
    parts = (network, getattr(network, "backbone", network))
    own = dict.fromkeys(type(part).__name__ for part in parts if not type(part).__module__.startswith("pin_memory."))
    return " ".join(own) or choices.get("network", type(network).__name__)
