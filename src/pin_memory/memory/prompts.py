"""From the names of classes to text prototypes, whatever the text encoder is."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from pin_memory.memory.operations import unit
from pin_memory.utils.errors import ConfigurationError, first_names

SLOT = "{}"
"""Where a prompt takes the name."""


def class_prototypes(
    encode: Callable[[list[str]], Tensor], classes: Sequence[str], prompts: Sequence[str], synonyms: Mapping[str, Sequence[str]]
) -> Tensor:
    """One unit vector for each class: of a name the mean over the prompts, of a class the mean over its names.

    Vectors are of length 1 before each mean and after it, as in CLIP's ensembles of prompts.

    Args:
        encode: Turns N texts into vectors `(N, D)`.
        classes: K names.
        prompts: Sentences with `{}` where the name goes.
        synonyms: The names that stand in place of a class's own.

    Returns:
        `(K, D)` float32.

    Raises:
        ConfigurationError: A prompt has no place for the name, or synonyms are of no class, or none.
    """
    check_prompts(classes, prompts, synonyms)
    rows = []
    for name in classes:
        names = synonyms.get(name, [name])
        vectors = unit(encode([prompt.replace(SLOT, one) for one in names for prompt in prompts]).float())
        rows.append(unit(unit(vectors.unflatten(0, (len(names), len(prompts))).mean(dim=1)).mean(dim=0), dim=0))
    return torch.stack(rows)


def check_prompts(classes: Sequence[str], prompts: Sequence[str], synonyms: Mapping[str, Sequence[str]]) -> None:
    """Refuse prompts without a place for the name, and synonyms of no class."""
    if bad := [prompt for prompt in prompts if SLOT not in prompt]:
        raise ConfigurationError(f"prompts: {bad[0]!r} has no {SLOT}, where the name of the class goes.")
    if unknown := [name for name in synonyms if name not in classes]:
        raise ConfigurationError(f"synonyms: there is no class {unknown[0]!r}; expected some of {first_names(classes, 25)}.")
    if empty := [name for name, others in synonyms.items() if not others]:
        raise ConfigurationError(f"synonyms: {empty[0]!r} has no name. Leave it out to take the class's own.")
