import random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pin_memory.domains import IGNORE, IMAGENET_MEAN, IMAGENET_STD, TrainTransform, normalize, to_tensors
from pin_memory.domains.loading.transforms import RandomScaleCrop
from pin_memory.utils.errors import ConfigurationError

PLAIN: dict[str, Any] = {"flip": 0.0, "jitter_probability": 0.0, "blur_sigma": None}


def pixels(image: torch.Tensor) -> np.ndarray:
    """(H, W, 3) in 0..255, as floats, whose differences may be negative."""
    assert image.dtype == torch.uint8
    return image.permute(1, 2, 0).numpy().astype(float)


def picture(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A smooth random image and a label of blocks."""
    generator = np.random.default_rng(7)
    coarse = Image.fromarray(generator.integers(0, 256, (height // 4, width // 4, 3), np.uint8))
    blocks = Image.fromarray(generator.integers(0, 19, (height // 6, width // 6), np.uint8))
    return np.array(coarse.resize((width, height), Image.Resampling.BICUBIC)), np.array(blocks.resize((width, height), 0))


def scale_pad_crop(
    image: np.ndarray, label: np.ndarray, crop: int, scale: tuple[float, float], generator: random.Random
) -> tuple[Any, Any]:
    """The plain way: scale the whole image, pad all around, crop at random."""
    factor = generator.uniform(*scale)
    height, width = (round(length * factor) for length in label.shape)
    scaled = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    scaled_label = np.asarray(Image.fromarray(label).resize((width, height), Image.Resampling.NEAREST))
    rows, columns = max(0, crop - height), max(0, crop - width)
    scaled = np.pad(scaled, ((rows, rows), (columns, columns), (0, 0)))
    scaled_label = np.pad(scaled_label, ((rows, rows), (columns, columns)), constant_values=IGNORE)
    top, left = (generator.randint(0, length - crop) for length in scaled_label.shape)
    return scaled[top : top + crop, left : left + crop], scaled_label[top : top + crop, left : left + crop]


@pytest.mark.parametrize("size", [(60, 90), (31, 47), (47, 120)])
def test_crop_then_resize_equals_scale_pad_crop(size: tuple[int, int]) -> None:
    image, label = picture(*size)
    transform, exact = RandomScaleCrop((48, 48), (0.5, 2.0)), 0
    for seed in range(60):
        transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
        seen = transform(image=image, mask=label)
        wanted, wanted_label = scale_pad_crop(image, label, 48, (0.5, 2.0), random.Random(seed))
        # Up to rounding: the filter's weights are fixed-point numbers, and a row or column may lie exactly between two of the label.
        difference = np.abs(seen["image"].astype(float) - wanted)
        assert difference.max() <= 3
        assert difference.mean() < 0.05
        assert (seen["mask"] == wanted_label).mean() > 0.9
        exact += (seen["mask"] == wanted_label).all()
    assert exact > 30


def test_same_distribution_as_scale_pad_crop() -> None:
    height, width, crop, draws = 40, 60, 32, 1500
    rows, columns = (grid.astype(np.uint8) for grid in np.mgrid[:height, :width])
    image = np.dstack([rows, columns, rows])
    transform, generator = RandomScaleCrop((crop, crop), (0.5, 2.0)), random.Random(1)
    transform.set_random_state(np.random.default_rng(2), random.Random(2))

    def statistics(shown: np.ndarray, label: np.ndarray) -> list[float]:
        """Share outside the image; mean and spread of the original row in the middle; the column in a corner; the share of one class."""
        middle, corner = shown[crop // 2, crop // 2].astype(float), shown[2, -3].astype(float)
        return [(label == IGNORE).mean(), middle[0], middle[0] ** 2, corner[1], corner[1] ** 2, (label == 5).mean()]

    ours, plain = [], []
    for _ in range(draws):
        pair = transform(image=image, mask=rows)
        ours.append(statistics(pair["image"], pair["mask"]))
        plain.append(statistics(*scale_pad_crop(image, rows, crop, (0.5, 2.0), generator)))
    error = np.sqrt((np.var(ours, 0) + np.var(plain, 0)) / draws)
    assert (np.abs(np.mean(ours, 0) - np.mean(plain, 0)) < 4 * error).all()


def test_image_and_label_stay_aligned() -> None:
    # Every pixel's colour says its row and column; cubic interpolation keeps such ramps exactly.
    rows, columns = (grid.astype(np.uint8) for grid in np.mgrid[:100, :120])
    image = np.dstack([2 * rows, 2 * columns, rows])
    transform = TrainTransform(64, flip=0.5, jitter_probability=0, blur_sigma=None)
    for seed in range(40):
        for label, channel in ((rows, 0), (columns, 1)):
            shown, shown_label = transform(image, label, seed)
            where = pixels(shown)[..., channel] / 2
            # Not at the border of the original, where the filter has nothing to read on one side.
            inside = (where > 3) & (where < label.max() - 3) & (shown_label.numpy() != IGNORE)
            # Half a pixel of the nearest neighbour, and a quarter from rounding to 8 bits.
            assert np.abs(where - shown_label.numpy())[inside].max() <= 0.76
            assert abs((where - shown_label.numpy())[inside].mean()) < 0.15


def test_outside_the_image_it_is_black_and_ignored() -> None:
    image, label = np.full((20, 20, 3), 200, np.uint8), np.zeros((20, 20), np.uint8)
    placed = set()
    for seed in range(30):
        shown, shown_label = TrainTransform(32, scale=(1.0, 1.0), **PLAIN)(image, label, seed)
        inside = shown_label.numpy() == 0
        assert inside.sum() == 400
        assert (shown_label.numpy()[~inside] == IGNORE).all()
        np.testing.assert_allclose(pixels(shown)[inside], 200, atol=1e-3)
        np.testing.assert_allclose(pixels(shown)[~inside], 0, atol=1e-3)
        placed.add((int(inside.any(1).argmax()), int(inside.any(0).argmax())))
    # At random places, not in the middle.
    assert len(placed) > 15


def test_a_seed_decides_everything() -> None:
    image, label = picture(60, 90)
    transform = TrainTransform(32)
    first, again, other = transform(image, label, 1), transform(image, label, 1), transform(image, label, 2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(transform(image, label)[0], transform(image, label)[0])


def test_steps_are_independent() -> None:
    # Shared seeds would let flip and jitter always happen together.
    columns = np.tile(np.arange(40, dtype=np.uint8), (40, 1))
    image = np.full((40, 40, 3), (60, 120, 180), np.uint8)
    transform = TrainTransform(8, scale=(1.0, 1.0), blur_sigma=None)
    counts = np.zeros((2, 2))
    for seed in range(200):
        shown, label = transform(image, columns, seed)
        flipped = bool(label[0, 0] > label[0, -1])
        jittered = bool(np.abs(pixels(shown)[0, 0] - image[0, 0]).max() > 0.5)
        counts[int(flipped), int(jittered)] += 1
    assert (np.abs(counts - 50) < 25).all()


def test_strength_of_the_blur() -> None:
    image = np.zeros((33, 33, 3), np.uint8)
    image[16, 16] = 255
    peaks = [
        pixels(TrainTransform(33, scale=(1, 1), flip=0, jitter_probability=0, blur_sigma=(sigma, sigma))(image, image[..., 0], 0)[0]).max()
        for sigma in (0.15, 0.7, 1.3)
    ]
    # The middle of a Gaussian of that sigma, as a share of its sum.
    for peak, sigma in zip(peaks, (0.15, 0.7, 1.3), strict=True):
        grid = np.exp(-(np.arange(-10, 11) ** 2) / (2 * sigma**2))
        assert abs(peak - 255 * (1 / grid.sum()) ** 2) < 4


def test_shapes_and_types() -> None:
    image, label = picture(60, 90)
    shown, shown_label = TrainTransform((24, 40))(image, label, 0)
    assert (shown.shape, shown.dtype) == ((3, 24, 40), torch.uint8)
    assert (shown_label.shape, shown_label.dtype) == ((24, 40), torch.int64)
    assert shown.is_contiguous()


def test_a_pair_becomes_tensors_as_it_is() -> None:
    image, label = picture(30, 50)
    shown, shown_label = to_tensors(image, label)
    assert np.array_equal(pixels(shown), image)
    assert (shown_label.dtype, shown_label.tolist()) == (torch.int64, label.tolist())
    assert shown.is_contiguous()


def test_normalisation_equals_float64() -> None:
    """Of one image and of a batch; floats are normalised already, and stay the tensor that they are."""
    image, label = picture(30, 50)
    shown, _ = to_tensors(image, label)
    expected = (image / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    for found in (normalize(shown), normalize(torch.stack([shown, shown]))[1]):
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found.permute(1, 2, 0).numpy(), expected, rtol=0, atol=1e-6)
    assert shown.dtype == torch.uint8
    assert normalize(found) is found
    assert normalize(found.double()).dtype == torch.float64


@pytest.mark.parametrize(
    "wrong",
    [{"crop_size": 0}, {"scale": (2, 1)}, {"scale": (0, 1)}, {"flip": 1.5}, {"color_jitter": (0.1, 0.1, 0.1, 0.6)}, {"blur_sigma": (2, 1)}],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="augmentation"):
        TrainTransform(**wrong)


def test_looks_change_the_pixels_as_named() -> None:
    """A gamma above 1 darkens, grey takes the colours, noise roughens; the label is left alone."""
    image = np.random.default_rng(0).integers(40, 216, (32, 32, 3), np.uint8)
    smooth = np.full((32, 32, 3), 128, np.uint8)
    label = np.arange(1024, dtype=np.uint8).reshape(32, 32) % 19
    still: dict[str, Any] = {"crop_size": 32, "scale": (1, 1), "flip": 0, "jitter_probability": 0, "blur_sigma": None}

    def shown(pixels: np.ndarray, **look: Any) -> torch.Tensor:
        result, mask = TrainTransform(**still, **look)(pixels, label, seed=1)
        assert torch.equal(mask, torch.from_numpy(label).long())
        return result / 255

    plain = shown(image)
    torch.testing.assert_close(shown(image, gamma=(2.0, 2.0)), plain**2, rtol=0, atol=0.02)
    grey = shown(image, grey=1.0)
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(grey[1], grey[2])
    assert float(shown(smooth, noise_sigma=(0.1, 0.1)).std()) == pytest.approx(0.1, rel=0.1)
    with pytest.raises(ConfigurationError, match="gamma"):
        TrainTransform(gamma=(0.0, 1.0))
