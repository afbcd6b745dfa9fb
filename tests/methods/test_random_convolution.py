"""Random convolutions against plain loops, and their draws."""

import math
from functools import partial
from typing import Any

import pytest
import torch

from pin_memory.methods import RandomConvolution
from pin_memory.methods.random_convolution import random_block, squared_distances
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.stepping import PinTheMemoryByHand
from tests.helpers.tiny import tiny_batch, tiny_segmenter


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_loops(image: torch.Tensor, weights: torch.Tensor, affine: torch.Tensor | None, tanh: bool) -> list[list[list[float]]]:
    """One image through its filter, pixel by pixel."""
    _, height, width = image.shape
    half = weights.shape[-1] // 2
    channels = []
    for out in range(3):
        rows = [[0.0] * width for _ in range(height)]
        for y in range(height):
            for x in range(width):
                for colour in range(3):
                    for dy in range(-half, half + 1):
                        for dx in range(-half, half + 1):
                            if 0 <= y + dy < height and 0 <= x + dx < width:
                                rows[y][x] += float(weights[out, colour, dy + half, dx + half] * image[colour, y + dy, x + dx])
        if affine is not None:
            values = [value for row in rows for value in row]
            mean = sum(values) / len(values)
            deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values) + 1e-5)
            rows = [[float(affine[0, out]) * (value - mean) / deviation + float(affine[1, out]) for value in row] for row in rows]
        channels.append([[math.tanh(value) if tanh else value for value in row] for row in rows])
    return channels


@pytest.mark.parametrize("side", [1, 3, 5])
@pytest.mark.parametrize(("affine", "tanh"), [(False, False), (True, True)])
def test_a_block_equals_plain_loops(side: int, affine: bool, tanh: bool) -> None:
    images, weights = numbers(2, 3, 4, 6), numbers(2, 3, 3, side, side, seed=1)
    moments = numbers(2, 2, 3, 1, 1, seed=2) if affine else None
    found = random_block(images, weights, moments, tanh)
    for image in range(2):
        expected = by_loops(images[image], weights[image], None if moments is None else moments[:, image, :, 0, 0], tanh)
        torch.testing.assert_close(found[image], torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-12)


def test_a_block_is_repeated_with_the_same_numbers() -> None:
    """The draws of the call, again by hand: weights, smoothing, scale and shift once, however often the block is repeated."""
    images = numbers(2, 3, 8, 8)
    numbers_of_times = set()
    for seed in range(12):
        torch.manual_seed(seed)
        found = RandomConvolution(repeats=3, probability=1.0)(images, ["a", "b"])
        torch.manual_seed(seed)
        torch.randint(1, ())
        weights = torch.randn(2, 3, 3, 3, 3, dtype=torch.float64) / 27**0.5
        width = 1e-3 + (1 - 1e-3) * torch.rand(2, 1, 1, 1, 1, dtype=torch.float64)
        weights = weights * torch.exp(-torch.tensor([[2.0, 1, 2], [1, 0, 1], [2, 1, 2]]) / (2 * width**2))
        affine = 0.5 * torch.randn(2, 2, 3, 1, 1, dtype=torch.float64)
        times = 1 + int(torch.randint(3, ()))
        expected = images
        for _ in range(times):
            expected = random_block(expected, weights, affine, tanh=True)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
        numbers_of_times.add(times)
    assert numbers_of_times == {1, 2, 3}


def test_randconv_is_one_plain_filter_of_a_size_of_chance() -> None:
    """Unit variance of what comes out of white noise; every image has a filter of its own; some images stay as they are."""
    images = numbers(400, 3, 9, 9)
    plain = RandomConvolution([1, 3, 5], repeats=1, smoothing=False, affine=False, tanh=False, probability=1.0)
    torch.manual_seed(0)
    middle = torch.cat([plain(images, [])[:, :, 4, 4] for _ in range(6)])
    assert float(middle.var()) == pytest.approx(1, abs=0.1)
    same = images[:1].expand(5, -1, -1, -1)
    assert len({float(image.sum()) for image in plain(same, [])}) == 5
    half = RandomConvolution(probability=0.5)(images, [])
    kept = sum(torch.equal(one, other) for one, other in zip(half, images, strict=True))
    assert 150 < kept < 250
    assert squared_distances(1).tolist() == [[0]]


def test_a_step_is_made_on_changed_images_and_the_same_labels() -> None:
    method = PinTheMemoryByHand(
        tiny_segmenter(), partial(torch.optim.SGD, lr=0.01), randomisation=RandomConvolution(probability=1.0)
    ).prepare()
    batch, original = tiny_batch(), tiny_batch()
    method.on_train_batch_start(batch, 0)
    method.training_step(batch, 0)
    for name, part in batch.items():
        assert part["image"].abs().max() <= 1  # by tanh
        assert not torch.allclose(part["image"], original[name]["image"])
        assert torch.equal(part["label"], original[name]["label"])
    assert all(gradient.isfinite().all() for gradient in method.gradients.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel": 4}, "kernel=4: expected an odd number"),
        ({"kernel": [1, 0]}, "expected an odd number"),
        ({"kernel": []}, "expected an odd number"),
        ({"repeats": 0}, "method.randomisation.repeats must be greater than or equal to 1"),
        ({"contrast": -1.0}, "method.randomisation.contrast must be greater than or equal to 0"),
        ({"probability": 2.0}, "method.randomisation.probability must be less than or equal to 1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RandomConvolution(**settings)
