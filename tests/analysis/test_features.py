"""Class features against loops: pooling, halves, points, memory items among them."""

import numpy as np
import pytest
import torch

from pin_memory.analysis import activation_maps, class_features, feature_points, memory_items
from pin_memory.analysis.features import MEMORY_ITEM, ClassFeatures
from pin_memory.inference import BatchNormStatistics
from pin_memory.memory import operations
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.references import pooled, synthetic
from tests.helpers.tiny import tiny_batch, tiny_segmenter
from tests.helpers.vit_networks import vit_segmenter


def batches(images: int = 3, side: int = 32) -> list[dict]:  # type: ignore[type-arg]
    """Two batches of one domain; the label of the second one is of another size than its images."""
    first = tiny_batch(("a",), images, side=side)["a"]
    second = tiny_batch(("a",), 1, side=side)["a"]
    second["label"] = torch.randint(0, 4, (1, 21, 19), generator=torch.Generator().manual_seed(1))
    return [first, second]


@pytest.mark.parametrize("memory", [True, False])
def test_pooled_features_equal_a_loop(memory: bool) -> None:
    network = tiny_segmenter(memory=memory).eval()
    found = class_features(network, batches())
    assert found.shares.shape == (4, 4)
    number = 0
    with torch.no_grad():
        for batch in batches():
            features = network.encode(batch["image"]).features
            fused = network.read(features).fused
            for one, after, label in zip(features.numpy(), fused.numpy(), batch["label"].numpy(), strict=True):
                sums, shares = pooled(one, label, 4)
                np.testing.assert_allclose(found.before[number], sums, atol=1e-5)
                np.testing.assert_allclose(found.shares[number], shares, atol=1e-5)
                if memory:
                    assert found.after is not None
                    np.testing.assert_allclose(found.after[number], pooled(after, label, 4)[0], atol=1e-5)
                number += 1
    assert (found.after is None) == (not memory)
    assert found.names == ("a", "a", "a", "a")


def test_pooling_is_that_of_the_write() -> None:
    """With an update network that changes nothing and no momentum, the mean of a batch is the item that is written."""
    network = tiny_segmenter().eval()
    memory = network.require_memory()
    memory.momentum = 0.0
    memory.update = torch.nn.Identity()  # type: ignore[assignment]
    batch = tiny_batch(("a",), side=32)["a"]
    means = class_features(network, [batch]).means()
    with torch.no_grad():
        written = memory.write(network.encode(batch["image"]).features, batch["label"]).numpy()
    np.testing.assert_allclose(means / np.linalg.norm(means, axis=1, keepdims=True), written, atol=1e-5)


def test_area_shares_are_followed() -> None:
    network = tiny_segmenter().eval()
    bilinear = class_features(network, batches()).shares
    network.require_memory().shares = "area"
    area = class_features(network, batches()).shares
    assert not np.allclose(bilinear, area)
    label, size = batches()[0]["label"], network.encode(batches()[0]["image"]).features.shape[-2:]
    expected = operations.class_shares_by_area(label, (size[0], size[1]), 4, torch.float64).sum(dim=(2, 3))
    np.testing.assert_allclose(area[:3], expected.numpy())


def test_statistics_of_each_image_do_not_depend_on_the_batch() -> None:
    network = tiny_segmenter()
    policy = BatchNormStatistics("image")
    together = class_features(network, [tiny_batch(("a",), side=32)["a"]], policy)
    batch = tiny_batch(("a",), side=32)["a"]
    single = [{key: value[n : n + 1] for key, value in batch.items()} for n in range(3)]
    np.testing.assert_allclose(together.before, class_features(network, single, policy).before, atol=1e-6)
    assert not np.allclose(together.before, class_features(network, single).before)
    assert network.training  # it comes back as it was


def test_means_are_nan_where_a_class_is_not_seen() -> None:
    found = synthetic()["d0"]
    assert np.isnan(found.image_means()[0, -1]).all()
    np.testing.assert_allclose(found.means()[-1], found.before[2, -1] / found.shares[2, -1])
    assert found.half(1).names == ("0/1", "0/3")
    with pytest.raises(ConfigurationError, match="no memory"):
        found.means("after")
    with pytest.raises(ConfigurationError, match="between"):
        found.means("between")
    with pytest.raises(ValueError, match="at least one image"):
        class_features(tiny_segmenter(), [])


def test_points_of_classes_and_items() -> None:
    features = synthetic()
    items = np.eye(4, 6)
    items[1] = 0
    points = feature_points(features, items=items, least_cells=0.5)
    expected = [
        (name, k, f.before[n, k]) for name, f in features.items() for n in range(5) for k in range(4) if f.shares[n, k] >= 0.5
    ]  # fmt: skip
    assert len(points.vectors) == len(expected) + 3
    for vector, k, domain, (name, expected_k, total) in zip(points.vectors, points.classes, points.domains, expected, strict=False):
        assert (points.names[domain], k) == (name, expected_k)
        np.testing.assert_allclose(vector, total / np.linalg.norm(total))
    assert points.classes[-3:].tolist() == [0, 2, 3]
    assert (points.domains[-3:] == MEMORY_ITEM).all()


def test_items_before_and_after_reading() -> None:
    network = tiny_segmenter().eval()
    items = network.require_memory().items
    before, after = memory_items(network), memory_items(network, "after")
    assert before is not None
    assert after is not None
    np.testing.assert_allclose(before, items.numpy())
    for k in range(4):  # an image of one cell that equals the item
        with torch.no_grad():
            fused = network.read(items[k].view(1, -1, 1, 1)).fused.flatten().numpy()
        np.testing.assert_allclose(after[k], fused / np.linalg.norm(fused), atol=1e-6)
    items[2] = 0  # never written
    for which in ("before", "after"):
        unwritten = memory_items(network, which)
        assert unwritten is not None
        assert unwritten.any(axis=1).tolist() == [True, True, False, True]
    assert memory_items(tiny_segmenter(memory=False)) is None


def test_features_of_a_class_that_is_everywhere() -> None:
    """Shares of a fully labelled image sum to its cells."""
    network = tiny_segmenter().eval()
    batch = tiny_batch(("a",), 1, side=32)["a"]
    batch["label"] = torch.full((1, 32, 32), 2)
    found: ClassFeatures = class_features(network, [batch])
    cells = network.encode(batch["image"]).features[0, 0].numel()
    np.testing.assert_allclose(found.shares, [[0, 0, cells, 0]], atol=1e-6)


@pytest.mark.parametrize("memory", ["categorical", None])
def test_patches_are_pooled_with_their_own_pixels(memory: str | None) -> None:
    """Of a vision transformer: an image of 45 pixels as the one that is padded to 48; a finer label as its coarser one."""
    network = vit_segmenter(memory=memory, classes=4, patch_size=16).double()
    generator = torch.Generator().manual_seed(0)
    image, label = torch.randn(1, 3, 45, 45, generator=generator).double(), torch.randint(0, 4, (1, 45, 45), generator=generator)
    padded = {"image": torch.nn.functional.pad(image, (0, 3, 0, 3)), "label": torch.nn.functional.pad(label, (0, 3, 0, 3), value=255)}
    finer = {"image": image, "label": label.repeat_interleave(2, 1).repeat_interleave(2, 2)}
    expected = class_features(network, [{"image": image, "label": label, "name": ["a"]}])
    for batch in (padded, finer):
        found = class_features(network, [batch | {"name": ["a"]}])
        np.testing.assert_allclose(found.shares, expected.shares, atol=1e-12)
        np.testing.assert_allclose(found.before, expected.before, atol=1e-12)
    assert expected.shares.sum() == pytest.approx(45 * 45 / 256)  # in patches; padding has no share
    if memory:
        assert activation_maps(network, padded["image"][0])[:, :45, :45] == pytest.approx(activation_maps(network, image[0]), abs=1e-6)
