"""Evaluation protocols against slow references: float64, loops over windows and pixels, nothing shared with the library."""

import math
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.optim import SGD
from torchmetrics.classification import MulticlassJaccardIndex

from pin_memory.inference import WHOLE, BatchNormStatistics, Protocol
from pin_memory.inference.protocols import find_protocol, recorded_name
from pin_memory.inference.windows import windows_along
from pin_memory.methods import ERM
from pin_memory.metrics import DomainConfusion, class_iou, mean_iou
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.tiny import tiny_segmenter

NAMES = sorted(path.stem for path in (config_directory() / "protocol").glob("*.yaml"))
CLASSES = 4
SIZES = [(37, 53), (48, 32), (17, 70)]


def images(height: int, width: int, count: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(height * width), dtype=dtype)


def network() -> nn.Module:
    """Batch norm has moved statistics, so that eval mode matters; outputs depend on the place in the window and on its surroundings."""
    return tiny_segmenter(CLASSES).double().eval()


# Slow references ----------------------------------------------------------------------------------------------------


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(0, keepdims=True))
    return exponents / exponents.sum(0, keepdims=True)


def logits_of(net: nn.Module, image: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """(3, h, w) to (K, *size)."""
    with torch.no_grad():
        return net.segment(torch.from_numpy(image.copy())[None], size)[0].numpy()


def naive_resize(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, pixel centres at halves, pixel by pixel."""
    channels, rows, columns = values.shape
    out = np.zeros((channels, height, width))
    for y in range(height):
        for x in range(width):
            v = min(max((y + 0.5) * rows / height - 0.5, 0), rows - 1)
            u = min(max((x + 0.5) * columns / width - 0.5, 0), columns - 1)
            y0, x0 = math.floor(v), math.floor(u)
            y1, x1 = min(y0 + 1, rows - 1), min(x0 + 1, columns - 1)
            top = values[:, y0, x0] * (1 - (u - x0)) + values[:, y0, x1] * (u - x0)
            bottom = values[:, y1, x0] * (1 - (u - x0)) + values[:, y1, x1] * (u - x0)
            out[:, y, x] = top * (1 - (v - y0)) + bottom * (v - y0)
    return out


def naive_starts(length: int, window: int, overlap: float) -> list[int]:
    """Move by the stride until the end is reached; the last window ends with the image."""
    starts, at = [], 0
    while True:
        starts.append(min(at, length - window))
        if at + window >= length:
            return starts
        at += math.ceil(window * (1 - overlap))


def naive_sliding(net: nn.Module, image: np.ndarray, window: tuple[int, int], overlap: float, average: str = "probabilities") -> np.ndarray:
    """(3, H, W) to averaged scores (K, H, W), with a count matrix."""
    height, width = image.shape[1:]
    rows, columns = min(window[0], height), min(window[1], width)
    total, count = np.zeros((CLASSES, height, width)), np.zeros((height, width))
    for top in naive_starts(height, rows, overlap):
        for left in naive_starts(width, columns, overlap):
            scores = logits_of(net, image[:, top : top + rows, left : left + columns])
            scores = softmax(scores) if average == "probabilities" else scores
            for y in range(rows):
                for x in range(columns):
                    total[:, top + y, left + x] += scores[:, y, x]
                    count[top + y, left + x] += 1
    return total / count


def naive_flip(scores_of, image: np.ndarray) -> np.ndarray:
    return (scores_of(image) + scores_of(image[:, :, ::-1])[:, :, ::-1]) / 2


# Sliding window -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("window", "overlap"), [((16, 24), 1 / 3), ((20, 20), 0.5), ((13, 32), 0.0), ((16, 16), 0.8)])
def test_sliding_window_is_the_average_over_the_windows(size: tuple[int, int], window: tuple[int, int], overlap: float) -> None:
    net, image = network(), images(*size)
    protocol = Protocol("test", window=window, overlap=overlap, window_batch=3)
    expected = naive_sliding(net, image[0].numpy(), window, overlap)
    found = protocol.probabilities(net, image)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-12)
    assert np.array_equal(protocol.predict(net, image)[0].numpy(), expected.argmax(0))
    torch.testing.assert_close(found.sum(1), torch.ones_like(found[:, 0]))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_sliding_window_over_the_mirror_image_as_well(size: tuple[int, int], average: str) -> None:
    net, image = network(), images(*size)
    protocol = Protocol("test", window=(16, 24), flip=True, average=average)
    expected = naive_flip(lambda shown: naive_sliding(net, shown, (16, 24), 1 / 3, average), image[0].numpy())
    assert np.array_equal(protocol.predict(net, image)[0].numpy(), expected.argmax(0))
    expected = expected if average == "probabilities" else softmax(expected)
    np.testing.assert_allclose(protocol.probabilities(net, image)[0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("window", [(100, 100), (37, 53), (100, 20), (20, 100)])
def test_a_window_larger_than_the_image_is_cut_to_it(window: tuple[int, int]) -> None:
    net, image = network(), images(37, 53)
    found = Protocol("test", window=window).probabilities(net, image)[0].numpy()
    np.testing.assert_allclose(found, naive_sliding(net, image[0].numpy(), window, 1 / 3), atol=1e-12)
    if min(window) > 36 and max(window) > 52:
        np.testing.assert_allclose(found, WHOLE.probabilities(net, image)[0].numpy(), atol=1e-12)


@pytest.mark.parametrize("length", [1, 5, 767, 768, 769, 1024, 1536, 2048, 3264])
@pytest.mark.parametrize(("window", "overlap"), [(768, 1 / 3), (768, 0.3333333333), (512, 0), (700, 0.6)])
def test_windows_cover_an_axis_with_windows_of_one_size(length: int, window: int, overlap: float) -> None:
    axis = windows_along(length, window, overlap)
    seen = np.zeros(length, int)
    for start in axis.starts:
        assert 0 <= start <= length - axis.window
        seen[start : start + axis.window] += 1
    assert seen.min() > 0
    assert axis.counts().tolist() == seen.tolist()
    assert axis.window == min(window, length)
    exact = 1 / 3 if overlap == 0.3333333333 else overlap
    assert list(axis.starts) == naive_starts(length, axis.window, exact)


@pytest.mark.parametrize("batch", [1, 2, 5, 100])
def test_the_batch_of_windows_has_no_effect(batch: int) -> None:
    net, image = network(), images(37, 53, count=2)
    one = Protocol("test", window=16, flip=True, window_batch=1).probabilities(net, image)
    torch.testing.assert_close(Protocol("test", window=16, flip=True, window_batch=batch).probabilities(net, image), one)
    alone = torch.cat([Protocol("test", window=16, flip=True, window_batch=batch).probabilities(net, i[None]) for i in image])
    torch.testing.assert_close(alone, one)


@pytest.mark.parametrize("policy", ["image", "batch"])
def test_statistics_of_an_image_do_not_depend_on_the_batch_of_windows(policy: str) -> None:
    net, image = network(), images(37, 53)
    found = [Protocol("test", window=16, window_batch=n).probabilities(net, image, statistics=BatchNormStatistics(policy)) for n in (1, 8)]
    assert torch.equal(*found)
    assert not torch.allclose(found[0], Protocol("test", window=16).probabilities(net, image))


# Flip and scales of the whole image ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_flip_averages_probabilities(size: tuple[int, int]) -> None:
    net, image = network(), images(*size)
    expected = naive_flip(lambda shown: softmax(logits_of(net, shown)), image[0].numpy())
    found = find_protocol("whole_flip")
    np.testing.assert_allclose(found.probabilities(net, image)[0].numpy(), expected, atol=1e-12)
    assert np.array_equal(found.predict(net, image)[0].numpy(), expected.argmax(0))


@pytest.mark.parametrize("size", SIZES)
def test_scales_average_probabilities_at_the_size_of_the_label(size: tuple[int, int]) -> None:
    """Enlarged images are resized pixel by pixel here; a reduced one is left to torch, whose filter is Pillow's (below)."""
    net, image = network(), images(*size)
    label = (size[0] * 2 - 1, size[1] + 5)
    passes = []
    for scale in (0.5, 1.0, 1.75):
        height, width = round(size[0] * scale), round(size[1] * scale)
        if scale < 1:
            shown = nn.functional.interpolate(image, (height, width), mode="bilinear", antialias=True)[0].numpy()
        else:
            shown = naive_resize(image[0].numpy(), height, width)
        passes.append(naive_flip(lambda part: softmax(logits_of(net, part, label)), shown))
    found = Protocol("test", scales=(0.5, 1.0, 1.75), flip=True).probabilities(net, image, label)
    np.testing.assert_allclose(found[0].numpy(), np.mean(passes, 0), atol=1e-10)


@pytest.mark.parametrize("size", SIZES[:2])
@pytest.mark.parametrize("scale", [1.5, 2.0])
def test_windows_at_a_scale_are_resized_as_their_whole_map_would_be(size: tuple[int, int], scale: float) -> None:
    """The library resizes window by window; the reference averages on the enlarged image and resizes the whole map, to an odd size."""
    net, image = network(), images(*size)
    label = (size[0] - 3, size[1] + 4)
    shown = naive_resize(image[0].numpy(), round(size[0] * scale), round(size[1] * scale))
    expected = naive_resize(naive_sliding(net, shown, (16, 24), 1 / 3), *label)
    found = Protocol("test", window=(16, 24), scales=(scale,)).probabilities(net, image, label)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("size", SIZES[:2])
def test_images_at_a_number_of_rows(size: tuple[int, int]) -> None:
    """Logits of the windows are averaged on the enlarged image, and evaluated at the size of the label."""
    net, image = network(), images(*size)
    shown = naive_resize(image[0].numpy(), 60, round(60 / size[0] * size[1]))
    expected = naive_resize(naive_sliding(net, shown, (24, 24), 0.375, "logits"), *size)
    found = Protocol("test", window=(24, 24), overlap=0.375, rows=60, average="logits").scores(net, image)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-10)
    whole = Protocol("test", rows=60, average="logits").scores(net, image)
    np.testing.assert_allclose(whole[0].numpy(), logits_of(net, shown, size), atol=1e-10)
    torch.testing.assert_close(Protocol("test", rows=size[0]).scores(net, image), WHOLE.probabilities(net, image))


def test_windows_of_512_at_1024_rows_have_a_stride_of_320() -> None:
    protocol = find_protocol("sliding_512_1024")
    assert windows_along(1024, protocol.window[0], protocol.overlap).starts == (0, 320, 512)
    assert windows_along(2048, protocol.window[1], protocol.overlap).starts == (0, 320, 640, 960, 1280, 1536)
    assert recorded_name(Protocol("sliding_512_1024", window=512, overlap=0.375, average="logits")) == "sliding_512_1024@1 (rows=None)"


def test_reduction_filters_as_pillow_does() -> None:
    from PIL import Image

    from pin_memory.inference.windows import resize_images

    values = np.random.default_rng(0).random((40, 60), np.float32)
    expected = np.asarray(Image.fromarray(values).resize((25, 17), Image.Resampling.BILINEAR))
    found = resize_images(torch.from_numpy(values)[None, None].expand(1, 3, -1, -1), (17, 25))
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=1e-5)


def test_the_longer_side_is_limited_and_the_label_is_not() -> None:
    net, image = network(), images(37, 53)
    shown = nn.functional.interpolate(image, (22, 32), mode="bilinear", antialias=True)
    limited = Protocol("test", longest=32)
    torch.testing.assert_close(limited.probabilities(net, image), net.segment(shown, (37, 53)).softmax(1).detach())
    torch.testing.assert_close(Protocol("test", longest=64).probabilities(net, image), WHOLE.probabilities(net, image))


# The plain protocol, dtypes, names ----------------------------------------------------------------------------------


def test_whole_is_the_forward_pass_itself() -> None:
    net, image = network(), images(37, 53, count=2)
    logits = net.segment(image, (40, 50)).detach()
    assert torch.equal(WHOLE.predict(net, image, (40, 50)), logits.argmax(1))
    torch.testing.assert_close(WHOLE.probabilities(net, image, (40, 50)), logits.softmax(1))


@pytest.mark.parametrize("name", NAMES)
def test_every_named_protocol_takes_any_size(name: str) -> None:
    """Also in bfloat16, in which averages and interpolation still are float32."""
    net, image = tiny_segmenter(CLASSES).eval(), images(33, 47, count=2, dtype=torch.float32)
    protocol = find_protocol(name)
    exact = protocol.probabilities(net, image, (30, 51))
    assert exact.shape == (2, CLASSES, 30, 51)
    assert exact.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        rough = protocol.probabilities(net, image, (30, 51))
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough.sum(1), torch.ones(2, 30, 51), atol=1e-5, rtol=0)
    torch.testing.assert_close(rough, exact, atol=0.02, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_all_work_is_done_on_the_device_of_the_images(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device, which has no autocast, stands for an accelerator: an operation between it and the CPU is an error."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    net, protocol = tiny_segmenter(CLASSES).eval().to("meta"), find_protocol(name)
    found = protocol.probabilities(net, images(33, 47, dtype=torch.float32).to("meta"), (30, 51))
    assert (found.device.type, found.shape) == ("meta", (1, CLASSES, 30, 51))


@pytest.mark.parametrize("name", NAMES)
def test_named_protocols_are_recorded_by_name(name: str) -> None:
    protocol = find_protocol(name)
    assert OmegaConf.load(config_directory() / "protocol" / f"{name}.yaml")._target_ == "pin_memory.inference.Protocol"
    assert (protocol.name, recorded_name(protocol)) == (name, f"{name}@{protocol.version}")
    assert recorded_name(Protocol(name, protocol.version, **protocol.settings)) == str(protocol)


def test_a_changed_protocol_is_not_recorded_as_the_named_one() -> None:
    for third in (1 / 3, 0.3333333333, 0.33333):
        assert recorded_name(Protocol("sliding_768", window=768, overlap=third, window_batch=9)) == "sliding_768@1"
        assert windows_along(2048, 768, third).starts == (0, 512, 1024, 1280)
    assert recorded_name(Protocol("sliding_768", window=768, overlap=0.5)) == "sliding_768@1 (overlap=0.5)"
    assert recorded_name(Protocol("whole", flip=True)) == "whole@1 (flip=True)"
    assert recorded_name(Protocol("mine", version=2, flip=True)) == "mine@2 (flip=True)"


def test_unknown_names_list_the_choices() -> None:
    with pytest.raises(ConfigurationError, match=r"protocol=slidng.*mapillary_1536.*sliding_768"):
        find_protocol("slidng")


@pytest.mark.parametrize(
    "settings",
    [{"window": (0, 5)}, {"window": (5,)}, {"overlap": 1.0}, {"overlap": -0.1}, {"scales": ()}, {"scales": (0,)}, {"scales": (math.inf,)},
     {"average": "votes"}, {"longest": 0}, {"rows": 0}, {"window_batch": 0}],
)  # fmt: skip
def test_invalid_settings_are_refused(settings: dict) -> None:
    with pytest.raises(ConfigurationError, match=f"protocol.{next(iter(settings))} "):
        Protocol("test", **settings)


# Metrics ------------------------------------------------------------------------------------------------------------


def test_metrics_against_numpy_and_torchmetrics() -> None:
    """Confusion matrix pixel by pixel, IoU by set operations, and torchmetrics' Jaccard index; odd sizes, ignored pixels."""
    generator = np.random.default_rng(3)
    confusion, expected = DomainConfusion(7), np.zeros((7, 7), np.int64)
    jaccard = MulticlassJaccardIndex(7, average="none", ignore_index=255)
    truths, guesses = [], []
    for height, width in ((11, 7), (1, 13), (8, 8)):
        truth = generator.integers(0, 7, (height, width))
        guess = np.where(generator.random((height, width)) < 0.5, truth, generator.integers(0, 7, (height, width)))
        truth[generator.random((height, width)) < 0.2] = 255
        for y in range(height):
            for x in range(width):
                if truth[y, x] != 255:
                    expected[truth[y, x], guess[y, x]] += 1
        tensors = torch.from_numpy(guess)[None], torch.from_numpy(truth)[None]
        confusion.update(*tensors)
        jaccard.update(*tensors)
        truths += truth.ravel().tolist()
        guesses += guess.ravel().tolist()
    assert np.array_equal(confusion.compute().numpy(), expected)
    counted = [(t, g) for t, g in zip(truths, guesses, strict=True) if t != 255]
    iou = [
        sum(t == k and g == k for t, g in counted) / sum(t == k or g == k for t, g in counted)
        for k in range(7)
    ]  # fmt: skip
    np.testing.assert_allclose(class_iou(confusion.compute()).numpy(), iou, atol=1e-12)
    np.testing.assert_allclose(class_iou(confusion.compute()).numpy(), jaccard.compute().numpy(), atol=1e-6)
    assert mean_iou(class_iou(confusion.compute())) == pytest.approx(sum(iou) / 7)


def test_methods_validate_on_whole_images_and_test_by_their_protocol() -> None:
    protocol = Protocol("mine", window=16, flip=True)
    method = ERM(tiny_segmenter(CLASSES, memory=False), partial(SGD, lr=0.1), protocol=protocol).eval()
    batch = {"image": images(37, 53, dtype=torch.float32), "label": torch.full((1, 30, 51), 2), "name": ["a"]}
    for step, expected in ((method.validation_step, WHOLE), (method.test_step, protocol)):
        method._reset_confusions(["a"])
        step(batch, 0)
        guess = expected.predict(method.network, batch["image"], (30, 51))
        assert method.confusions["a"].compute()[2].tolist() == torch.bincount(guess.flatten(), minlength=CLASSES).tolist()
    assert not torch.equal(*(p.predict(method.network, batch["image"], (30, 51)) for p in (WHOLE, protocol)))
