"""Text prototypes from an encoder: prompts and synonyms, against a plain loop."""

import math

import pytest
import torch
from torch import Tensor

from pin_memory.memory.prompts import class_prototypes
from pin_memory.utils.errors import ConfigurationError

CLASSES = ["road", "traffic light", "person"]
PROMPTS = ["a photo of a {}", "the {} in a street, {}", "{}"]
SYNONYMS = {"person": ["pedestrian", "walker", "passer-by"], "road": ["street"]}
asked: list[str] = []


def encode(texts: list[str]) -> Tensor:
    """Vectors of any length that follow from the letters; keeps what it was asked."""
    asked.extend(texts)
    rows = [[sum(math.sin(ord(letter) * (i + 1) + j) for j, letter in enumerate(text)) for i in range(5)] for text in texts]
    return torch.tensor(rows, dtype=torch.float64)


def unit(vector: list[float]) -> list[float]:
    """At length 1."""
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector]


def mean(vectors: list[list[float]]) -> list[float]:
    """Place by place."""
    return [sum(values) / len(vectors) for values in zip(*vectors, strict=True)]


def test_prototypes_are_means_of_unit_vectors() -> None:
    asked.clear()
    found = class_prototypes(encode, CLASSES, PROMPTS, SYNONYMS)
    assert found.dtype == torch.float32
    said = list(asked)
    for row, names in zip(found, (["street"], ["traffic light"], ["pedestrian", "walker", "passer-by"]), strict=True):
        texts = [[f"a photo of a {name}", f"the {name} in a street, {name}", name] for name in names]
        assert [said.pop(0) for _ in range(3 * len(names))] == [text for of_name in texts for text in of_name]
        expected = unit(mean([unit(mean([unit(encode([text])[0].tolist()) for text in of_name])) for of_name in texts]))
        assert row.tolist() == pytest.approx(expected, abs=1e-6)


def test_one_prompt_and_no_synonyms_give_the_encoders_direction() -> None:
    found = class_prototypes(encode, CLASSES, ["{}"], {})
    for name, row in zip(CLASSES, found, strict=True):
        assert row.tolist() == pytest.approx(unit(encode([name])[0].tolist()), abs=1e-6)


def test_prompts_and_synonyms_that_cannot_be_meant() -> None:
    with pytest.raises(ConfigurationError, match=r"'a photo' has no \{\}"):
        class_prototypes(encode, CLASSES, ["{}", "a photo"], {})
    with pytest.raises(ConfigurationError, match="no class 'rode'; expected some of road, traffic light, person"):
        class_prototypes(encode, CLASSES, ["{}"], {"rode": ["street"]})
    with pytest.raises(ConfigurationError, match="'road' has no name"):
        class_prototypes(encode, CLASSES, ["{}"], {"road": []})
