"""Amplitudes of other images: against numpy's complete transform, and in the steps of methods."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from pin_memory.methods import FourierRandomisation
from pin_memory.methods.fourier import band_mask, draw_partners, mix_amplitudes
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.images import normalize
from tests.helpers.stepping import ByHand, ERMByHand, MetaSegNetByHand, MetaSegNetDGByHand, MLDGByHand, PinTheMemoryByHand
from tests.helpers.tiny import few_shot_segmenter, ridge_segmenter, tiny_batch, tiny_episodes, tiny_segmenter

SGD = partial(torch.optim.SGD, lr=0.01)


def colours(number: int, height: int = 12, width: int = 15) -> torch.Tensor:
    """Images of 0..255 in float64, of which no two have the same amplitudes."""
    return torch.rand(number, 3, height, width, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 255


def by_numpy(image: np.ndarray, other: np.ndarray, share: float, band: str, low: float, high: float) -> np.ndarray:
    """One channel `(H, W)`, by the complete transform with the zero frequency in the middle, frequency by frequency."""
    spectrum, reference = np.fft.fftshift(np.fft.fft2(image)), np.fft.fftshift(np.fft.fft2(other))
    amplitude, phase = np.abs(spectrum), np.angle(spectrum)
    height, width = image.shape
    for row in range(height):
        for column in range(width):
            frequency = max(abs(row - height // 2) / height, abs(column - width // 2) / width)
            if (band in ("low", "both") and frequency <= low) or (band in ("high", "both") and frequency >= high):
                amplitude[row, column] = (1 - share) * amplitude[row, column] + share * np.abs(reference[row, column])
    return np.real(np.fft.ifft2(np.fft.ifftshift(amplitude * np.exp(1j * phase))))


@pytest.mark.parametrize(("height", "width"), [(12, 16), (13, 15), (12, 15)])
@pytest.mark.parametrize("band", ["low", "high", "both"])
def test_equals_the_complete_transform_of_numpy(height: int, width: int, band: Any) -> None:
    images = colours(4, height, width)
    mask = band_mask(height, width, band, 0.13, 0.3)
    assert 0 < mask.mean() < 1
    found = mix_amplitudes(images[:2], images[2:], torch.tensor([0.3, 1.0], dtype=torch.float64).view(2, 1, 1, 1) * mask)
    for number, share in enumerate((0.3, 1.0)):
        for channel in range(3):
            pair = (images[number + offset, channel].numpy() for offset in (0, 2))
            expected = by_numpy(*pair, share, band, 0.13, 0.3)  # type: ignore[misc]
            np.testing.assert_allclose(found[number, channel].numpy(), expected, atol=1e-10)


def test_a_dark_image_becomes_as_bright_as_its_partner() -> None:
    """By its share: the amplitude of frequency 0 is the mean brightness, below as well as above ImageNet's."""
    dark, bright = (torch.full((1, 3, 16, 16), value, dtype=torch.uint8) for value in (40, 200))
    randomise = FourierRandomisation("low", probability=1.0)
    torch.manual_seed(0)
    found = randomise(normalize(torch.cat([dark, bright])), ["a", "b"])
    torch.manual_seed(0)
    for _ in range(2):
        torch.randint(1, ())  # the two partners
    share = torch.rand(2, 2, 1, 1, 1)[0].flatten()
    expected = torch.tensor([40.0, 200.0]) + share * torch.tensor([160.0, -160.0])
    values = found * torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1) + torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    torch.testing.assert_close(values * 255, expected.view(2, 1, 1, 1).expand(2, 3, 16, 16), atol=1e-3, rtol=0)


def test_without_strength_images_stay_as_they_are() -> None:
    images = normalize(colours(3).round().to(torch.uint8))
    torch.testing.assert_close(FourierRandomisation(strength=0.0)(images, ["a", "b", "c"]), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(FourierRandomisation(probability=0.0)(images, ["a", "b", "c"]), images, atol=1e-5, rtol=0)


def test_partners_are_of_other_domains_where_there_are_some_and_never_the_image_itself() -> None:
    torch.manual_seed(0)
    domains = ["a", "a", "b", "c", "c"]
    drawn = [draw_partners(domains, across=True) for _ in range(50)]
    assert all(domains[own] != domains[other] for partners in drawn for own, other in enumerate(partners))
    assert {partners[0] for partners in drawn} == {2, 3, 4}
    for across, names in ((True, ["a", "a", "a"]), (False, ["a", "b", "b"])):
        drawn = [draw_partners(names, across) for _ in range(50)]
        assert all(own != other for partners in drawn for own, other in enumerate(partners))
        assert {partners[1] for partners in drawn} == {0, 2}


BY_HAND = [
    pytest.param(lambda **own: ERMByHand(tiny_segmenter(memory=False), SGD, **own), id="erm"),
    pytest.param(lambda **own: MLDGByHand(tiny_segmenter(memory=False), SGD, first_order=False, **own), id="mldg, second order"),
    pytest.param(lambda **own: PinTheMemoryByHand(tiny_segmenter(), SGD, train_statistics="mixture", **own), id="pin_the_memory, mixture"),
    pytest.param(lambda **own: MetaSegNetDGByHand(ridge_segmenter(), SGD, **own), id="meta_seg_net_dg"),
]


@pytest.mark.parametrize("make", BY_HAND)
def test_a_step_of_every_kind_is_made_on_changed_images_and_the_same_labels(make: Any) -> None:
    """The step on images that were changed beforehand is the same; a second draw from the same seed, too."""
    batches = [tiny_batch() for _ in range(3)]
    method: ByHand = make(randomisation=FourierRandomisation(probability=1.0)).prepare()
    plain: ByHand = make().prepare()
    for batch in batches[:2]:
        torch.manual_seed(7)
        method.on_train_batch_start(batch, 0)
    original = tiny_batch()
    for name, part in batches[0].items():
        assert torch.equal(part["image"], batches[1][name]["image"])
        assert not torch.equal(part["image"], original[name]["image"])
        assert part["image"].shape == original[name]["image"].shape
        assert torch.equal(part["label"], original[name]["label"])
        assert part["name"] == original[name]["name"]
    plain.on_train_batch_start(batches[2], 0)
    assert torch.equal(batches[2]["a"]["image"], original["a"]["image"])
    for one in (method, plain):
        torch.manual_seed(8)
        one.training_step(batches[0], 0)
    assert method.terms == plain.terms
    assert method.gradients.keys() == plain.gradients.keys()
    assert all(torch.equal(method.gradients[name], plain.gradients[name]) for name in plain.gradients)


def test_support_and_queries_of_episodes_are_changed_together() -> None:
    method = MetaSegNetByHand(few_shot_segmenter().double(), SGD, way=2, randomisation=FourierRandomisation(probability=1.0)).prepare()
    batch, original = tiny_episodes(), tiny_episodes()
    method.on_train_batch_start(batch, 0)
    for part in ("support", "query"):
        assert batch[part]["image"].dtype == torch.float64
        assert batch[part]["image"].shape == original[part]["image"].shape
        assert not torch.equal(batch[part]["image"], original[part]["image"])
        assert torch.equal(batch[part]["label"], original[part]["label"])
    method.training_step(batch, 0)
    assert method.steps == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"band": "middle"}, "method.randomisation.band must be 'low', 'high' or 'both', found 'middle'"),
        ({"low": 0.6}, "method.randomisation.low must be less than or equal to 0.5, found 0.6"),
        ({"low": 0.3, "high": 0.2}, "low=0.3, high=0.2: the low band ends"),
        ({"strength": 1.5}, "method.randomisation.strength must be less than or equal to 1"),
        ({"probability": -0.1}, "method.randomisation.probability must be greater than or equal to 0"),
        ({"partner": "target"}, "method.randomisation.partner must be 'domain' or 'batch'"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("(", r"\(")):
        FourierRandomisation(**settings)
