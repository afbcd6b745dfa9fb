"""A trained network on arrays, against float64."""

import numpy as np
import pytest

from pin_memory.inference import Predictor, Protocol
from pin_memory.utils.images import normalize, to_tensors
from tests.helpers.tiny import tiny_segmenter


@pytest.mark.parametrize("protocol", [Protocol("whole"), Protocol("flip", flip=True), Protocol("windows", window=(24, 24))])
def test_scores_against_float64(protocol: Protocol) -> None:
    """Mask, confidence and logits of a batch, from probabilities of a float64 copy of the network; the mask is the same without scores."""
    network, images = tiny_segmenter().eval(), [np.random.default_rng(seed).integers(0, 256, (33, 41, 3), np.uint8) for seed in (1, 2)]
    model = Predictor(network, protocol=protocol)
    found, masks_only = model.segment(images, confidence=True, logits=True), model.segment(images)
    exact = tiny_segmenter().eval().double()
    for rgb, scored, mask_only in zip(images, found, masks_only, strict=True):
        image, _ = to_tensors(rgb, rgb[..., 0])
        probabilities = protocol.probabilities(exact, normalize(image[None]).double())[0].numpy()
        top = np.sort(probabilities, axis=0)
        clear = top[-1] - top[-2] > 1e-5
        assert clear.mean() > 0.9
        assert (scored.mask == probabilities.argmax(0))[clear].all()
        assert (scored.mask == mask_only.mask).all()
        assert mask_only.confidence is None
        assert scored.confidence is not None
        assert scored.logits is not None
        assert np.abs(scored.confidence - probabilities.max(0)).max() < 1e-5
        assert scored.logits.dtype == np.float16
        weights = np.exp(scored.logits.astype(np.float64))
        assert np.abs(weights / weights.sum(0) - probabilities).max() < 2e-3


def test_predictor_gives_probabilities_of_an_image() -> None:
    rgb = np.random.default_rng(1).integers(0, 255, (41, 31, 3), np.uint8)
    model = Predictor(tiny_segmenter(4), protocol=Protocol("test", window=24, flip=True))
    scores = model.probabilities(rgb)
    assert (scores.shape, scores.dtype) == ((4, 41, 31), np.float32)
    np.testing.assert_allclose(scores.sum(0), 1, atol=1e-5)
    assert np.array_equal(model.predict(rgb), scores.argmax(0))
    assert not np.array_equal(Predictor(tiny_segmenter(4)).probabilities(rgb), scores)


def test_images_of_several_sizes_or_types_are_refused() -> None:
    model, image = Predictor(tiny_segmenter()), np.zeros((16, 24, 3), np.uint8)
    for images in ([image, image[:8]], [image.astype(np.float32)], [image[..., 0]]):
        with pytest.raises(ValueError, match=r"RGB images \(H, W, 3\) uint8 of one size"):
            model.segment(images)
