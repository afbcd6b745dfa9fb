"""Weights from a file, whatever wrapper a training has put around them, where it is certain which tensors are meant; those of a ResNet."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor

from pin_memory.utils.errors import ConfigurationError, first_names
from pin_memory.utils.safe_load import load_weights_only

PACKAGED = "packaged"
"""A source of weights: an installed package or, with a warning, none."""
RANDOM = "The network starts from RANDOM weights: %s."
_ADVICE = (
    "Give a file with network.backbone.pretrained=FILE (torchvision's names, in any of the usual wrappers, saved with torch.save or as"
    " safetensors), or train from random weights on purpose with network.backbone.pretrained=null."
)
# Put into a name by torch.compile, FSDP and activation checkpointing, at any place.
_INSERTED = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_OWN_NAMES = {"stem.0": "conv1", "stem.1": "bn1", **{f"stage{n}": f"layer{n}" for n in range(1, 5)}}  # of ResNetBackbone
_OWN = re.compile(r"(?:(?<=\.)|^)(stem\.[01]|stage[1-4])(?=\.)")
_TRUNK = re.compile(r"(conv1|bn1|layer\d+)\.")  # what is not in it is a head, of which nothing is needed
_DEEPEST = 5  # dictionaries inside each other


class Candidate(NamedTuple):
    """Tensors of one dictionary in a file that may be the weights: those whose names begin with one prefix, without it."""

    place: str  # keys of the dictionaries and the prefix, as `state_dict / module.backbone.`
    tensors: dict[str, Tensor]


def pretrained_state(depth: int, source: str) -> dict[str, Tensor]:
    """ImageNet weights by name or file, with the classifier that `load_state_dict` expects; no code in them is run."""
    reference: dict[str, Tensor] = getattr(torchvision.models, f"resnet{depth}")(weights=None).state_dict()
    try:
        content = _read(depth, source)
    except Exception as error:  # network, disk, pickle: whatever it was, the user has the same two ways out
        raise ConfigurationError(f"network: could not get the pretrained ResNet-{depth} weights ({source}): {error}\n{_ADVICE}") from error
    expected = {name: tensor for name, tensor in reference.items() if _TRUNK.match(name)}
    trunks = [
        Candidate(one.place, {name: tensor for name, tensor in one.tensors.items() if _TRUNK.match(name)})
        for one in candidates(content, expected, _as_torchvision)
    ]
    found = [one for one in trunks if expected.keys() & one.tensors.keys()]
    if not found:
        described = _described(content)
        raise ConfigurationError(f"network: {source} holds {described}, no weights of a ResNet by torchvision's names.\n{_ADVICE}")
    fitting = [one for one in found if not _misfits(one, expected)]
    if not fitting:
        best = max(found, key=lambda one: len(expected) - len(_misfits(one, expected)))
        raise ConfigurationError(f"network: {source} does not fit ResNet-{depth}: {_explained(best, expected)}.\n{_ADVICE}")
    try:
        return reference | certain(fitting, expected)
    except ValueError as error:
        raise ConfigurationError(f"network: {source} {error}.\n{_ADVICE}") from error


def candidates(content: Any, expected: Collection[str], rename: Callable[[str], str] = str) -> list[Candidate]:
    """The tensors behind each prefix that stands before `expected` names, and behind none, in all dictionaries of a file.

    Names come without what compilation or sharding has put in, and as `rename` gives them.
    """
    found = []
    for place, state in _states(content):
        renamed = {rename(name): tensor for name, tensor in state.items()}
        for prefix in _prefixes(renamed, expected):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in renamed.items() if name.startswith(prefix)}
            found.append(Candidate(f"{place}{prefix}", tensors))
    return found


def certain(fitting: Sequence[Candidate], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of candidates that fit. ValueError: which are meant is not certain, or they are quantised or not finite."""
    first, *others = fitting
    if any(not torch.equal(tensor, first.tensors[name]) for one in others for name, tensor in one.tensors.items() if name in first.tensors):
        places = "; ".join(one.place or "the file itself" for one in fitting)
        raise ValueError(f"holds several sets of weights that fit and differ: {places}. Save the one that is meant in a file of its own")
    if odd := [name for name, tensor in first.tensors.items() if _is_odd(tensor, expected[name])]:
        raise ValueError(f"holds integers, NaN or infinite numbers as weights: {first_names(odd, 2)}")
    return first.tensors


def _is_odd(value: Tensor, expected: Tensor) -> bool:
    """Whether a tensor is quantised, or from a training that has diverged."""
    return expected.is_floating_point() and not (value.is_floating_point() and bool(value.isfinite().all()))


def _read(depth: int, source: str) -> Any:
    """The content of a file, or torchvision's weights."""
    if source == "imagenet":
        weights = torchvision.models.get_model_weights(f"resnet{depth}")["IMAGENET1K_V1"]
        return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    return read_weights(Path(source).expanduser())


def read_weights(path: Path) -> Any:
    """The content of a file of torch or safetensors; no code in it is run."""
    return load_file(path) if path.suffix == ".safetensors" else load_weights_only(path)


def _states(content: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The dictionaries in a file that hold tensors by name, with the keys that lead there."""
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if tensors:
        yield place, {_INSERTED.sub("", name): tensor for name, tensor in tensors.items()}
    for key, value in content.items():
        yield from _states(value, f"{place}{key} / ", depth + 1)


def _as_torchvision(name: str) -> str:
    """The name that torchvision has for what `ResNetBackbone` may have named."""
    return _OWN.sub(lambda part: _OWN_NAMES[part[1]], name)


def _prefixes(state: Mapping[str, Tensor], expected: Collection[str]) -> list[str]:
    """What stands before expected names, that with the most names first, and the empty prefix."""
    counts: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        counts.update(".".join([*parts[:n], ""]) if n else "" for n in range(len(parts)) if ".".join(parts[n:]) in expected)
    least = max(counts.values(), default=0) / 2  # `layer1.0.` stands before conv1.weight, too
    return list(dict.fromkeys([*(prefix for prefix, count in counts.most_common() if count >= least), ""]))


def _misfits(found: Candidate, expected: Mapping[str, Tensor]) -> list[str]:
    """Names of a trunk that are missing, of another shape, or of no such network; the oldest files lack the counts of batches."""
    shapes = {name: found.tensors[name].shape if name in found.tensors else None for name in expected}
    needed = [name for name in expected if shapes[name] != expected[name].shape]
    needed = [name for name in needed if shapes[name] is not None or not name.endswith("num_batches_tracked")]
    return needed + [name for name in found.tensors if name not in expected]


def _explained(found: Candidate, expected: Mapping[str, Tensor]) -> str:
    """How much of the best candidate fits, and what does not."""
    misfits = _misfits(found, expected)
    missing = [name for name in misfits if name not in found.tensors]
    other = [name for name in misfits if name not in expected]
    shapes = [
        f"{name} {tuple(found.tensors[name].shape)} in place of {tuple(expected[name].shape)}"
        for name in misfits if name in found.tensors and name in expected
    ]  # fmt: skip
    parts = {"missing": missing, "of no such network": other, "of another shape": shapes}
    listed = "; ".join(f"{len(names)} {what}, such as {first_names(names, 2)}" for what, names in parts.items() if names)
    where = f"below {found.place}" if found.place else "without a prefix"
    fits = sum(name in expected and name not in misfits for name in found.tensors)
    return f"{fits} of its {len(expected)} tensors fit {where}; {listed}"


def _described(content: Any) -> str:
    """The first keys or names of a file, for a message."""
    if not isinstance(content, Mapping):
        return f"an object of type {type(content).__name__}"
    names = [f"{place}{name}" for place, state in _states(content) for name in state]
    return f"{len(names)} tensors ({first_names(names)})" if names else f"no tensor (keys: {first_names(map(str, content))})"
