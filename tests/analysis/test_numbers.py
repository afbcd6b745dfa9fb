"""Distances, similarity, drift, activation, confusions and gains against loops and by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from pin_memory.analysis import (
    Calibration,
    ClassFeatures,
    activation_maps,
    calibration,
    class_gain,
    class_structure,
    confusion_matrix,
    domain_distances,
    memory_drift,
    memory_similarity,
    row_shares,
    structure_agreement,
    tsne,
)
from pin_memory.analysis.calibration import BINS, _sums
from pin_memory.analysis.features import used_perplexity
from pin_memory.inference import Protocol
from pin_memory.memory.geometry import gram
from pin_memory.methods.losses import memory_structure
from pin_memory.runs.results import Results
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import IGNORE
from tests.helpers.references import cosine, distances, synthetic
from tests.helpers.tiny import tiny_batch, tiny_segmenter


def test_domain_distances_equal_a_loop() -> None:
    features = synthetic()
    found = domain_distances(features)
    for k in range(4):
        for key, value in distances(features, k).items():
            np.testing.assert_allclose(getattr(found, key)[k], value, rtol=1e-9, err_msg=f"{key} of {k}")
    assert math.isnan(found.between_domains[3])  # seen in one domain alone
    assert np.isfinite(found.between_classes[3])
    known = range(3)
    overall = found.overall()
    assert overall["between_domains"] == pytest.approx(np.mean([found.between_domains[k] for k in known]))
    assert overall["ratio"] == pytest.approx(overall["between_domains"] / np.mean([found.between_classes[k] for k in known]))
    means = {name: f.means() for name, f in features.items()}
    pair = np.mean([1 - cosine(means["d0"][k], means["d2"][k]) for k in known])
    np.testing.assert_allclose(found.pairs[0, 2], pair)
    np.testing.assert_allclose(found.pairs, found.pairs.T)


def test_equal_domains_have_no_distance_and_opposite_ones_two() -> None:
    sums = np.random.default_rng(0).normal(size=(4, 3, 5))
    shares = np.ones((4, 3))
    one = ClassFeatures(sums, None, shares, tuple("abcd"))
    same = domain_distances({"a": one, "b": one._replace(before=7 * sums, shares=7 * shares)})
    np.testing.assert_allclose(same.between_domains, 0, atol=1e-12)
    assert same.overall()["ratio"] == pytest.approx(0)
    np.testing.assert_allclose(domain_distances({"a": one, "b": one._replace(before=-sums)}).between_domains, 2)
    with pytest.raises(ValueError, match="two domains"):
        domain_distances({"a": one})


def test_noise_is_what_domains_that_do_not_differ_are_apart() -> None:
    """Images of all domains are drawn around the same class means: distance and noise agree on average."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(1, 200, 16))
    shares = np.ones((20, 200))

    def domain() -> ClassFeatures:
        return ClassFeatures(centres + 0.3 * rng.normal(size=(20, 200, 16)), None, shares, ("",) * 20)

    overall = domain_distances({"a": domain(), "b": domain(), "c": domain()}).overall()
    assert overall["noise"] == pytest.approx(overall["between_domains"], rel=0.05)


def test_similarity_equals_a_loop() -> None:
    items = np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32)
    items[2] = 0
    found = memory_similarity(torch.from_numpy(items))
    for a in range(5):
        for b in range(5):
            if 2 in (a, b):
                assert math.isnan(found[a, b])
            else:
                assert found[a, b] == pytest.approx(cosine(items[a].astype(float), items[b].astype(float)), abs=1e-9)


def test_structure_is_that_of_the_loss() -> None:
    """Of what was written: cosines between items minus their mean, and one minus the loss as their agreement with text."""
    rng = np.random.default_rng(0)
    items, text = rng.normal(size=(5, 7)), torch.from_numpy(rng.normal(size=(5, 9)))
    found = class_structure(items)
    unit = torch.nn.functional.normalize(torch.from_numpy(items))
    np.testing.assert_allclose(found, gram(unit).numpy(), atol=1e-12)
    assert structure_agreement(gram(text).numpy(), found) == pytest.approx(1 - float(memory_structure(unit, gram(text))), abs=1e-12)
    items[2] = 0
    others = [0, 1, 3, 4]
    partly = class_structure(items)
    assert np.isnan(partly[2]).all()
    np.testing.assert_allclose(partly[np.ix_(others, others)], class_structure(items[others]))
    agreement = structure_agreement(gram(text).numpy(), partly)
    unit[2] = 0
    assert agreement == pytest.approx(1 - float(memory_structure(unit, gram(text))), abs=1e-12)
    values = [(float(gram(text)[i, j]), partly[i, j]) for i in others for j in others]
    lengths = math.prod(math.sqrt(sum(pair[side] ** 2 for pair in values)) for side in (0, 1))
    assert agreement == pytest.approx(sum(a * b for a, b in values) / lengths)
    assert math.isnan(structure_agreement(gram(text).numpy(), class_structure(np.zeros((5, 7)))))


def test_drift_by_hand() -> None:
    """One item turns by 10, then by 20 degrees; the other is written late."""
    angles = np.radians([0, 10, 30])
    first = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    second = np.array([[0, 0], [3, 0], [3, 0]])
    drift = memory_drift(np.array([0, 5, 7]), np.stack([first, second], axis=1))
    np.testing.assert_allclose(drift.to_final[:, 0], np.cos(np.radians([30, 20, 0])))
    np.testing.assert_allclose(drift.change[:, 0], [10 / 5, 20 / 2])
    assert np.isnan(drift.to_final[0, 1])
    assert np.isnan(drift.change[0, 1])
    assert drift.change[1, 1] == 0
    with pytest.raises(ValueError, match="two records"):
        memory_drift(np.array([0]), np.ones((1, 2, 2)))


def test_a_tiny_turn_is_not_lost() -> None:
    """The arc cosine of a float32 dot product would give 0 or 0.03 degrees."""
    items = np.array([[[1.0, 0.0]], [[1.0, 1e-5]]], np.float32)
    assert memory_drift(np.array([0, 1]), items).change[0, 0] == pytest.approx(math.degrees(1e-5), rel=1e-4)


def test_activation_maps_equal_a_loop() -> None:
    network = tiny_segmenter().eval()
    image = tiny_batch(("a",), 1, side=32)["a"]["image"][0]
    with torch.no_grad():
        features = network.encode(image[None]).features[0].double().numpy()
    items = network.require_memory().items.double().numpy()
    height, width = features.shape[1:]
    found = activation_maps(network, image, size=(height, width))
    for k in range(4):
        for i in range(height):
            for j in range(width):
                assert found[k, i, j] == pytest.approx(cosine(features[:, i, j], items[k]), abs=1e-5)
    full = activation_maps(network, image)
    assert full.shape == (4, 32, 32)
    assert full.dtype == np.float32
    np.testing.assert_allclose(
        full[:, [0, 0, -1, -1], [0, -1, 0, -1]], found[:, [0, 0, -1, -1], [0, -1, 0, -1]], atol=1e-6
    )  # corners align
    with pytest.raises(TypeError, match="memory"):
        activation_maps(tiny_segmenter(memory=False), image)


def test_confusion_matrix_equals_a_loop() -> None:
    network = tiny_segmenter().eval()
    batch = tiny_batch(("a",), 2, side=24)["a"]
    expected = np.zeros((4, 4), np.int64)
    with torch.no_grad():
        scores = network.segment(batch["image"]) + network.segment(batch["image"].flip(-1)).flip(-1)
        predicted = network.segment(batch["image"]).argmax(dim=1)
    for truth, guess in zip(batch["label"].flatten().tolist(), predicted.flatten().tolist(), strict=True):
        if truth != 255:
            expected[truth, guess] += 1
    assert np.array_equal(confusion_matrix(network, [batch]), expected)
    flipped = confusion_matrix(network, [batch], Protocol("flip", flip=True, average="logits"))
    guesses = scores.argmax(dim=1)[batch["label"] != 255]
    assert np.array_equal(flipped.sum(axis=0), np.bincount(guesses.numpy(), minlength=4))


@pytest.mark.parametrize("protocol", [Protocol("whole"), Protocol("flip", flip=True)])
def test_calibration_equals_a_loop_and_torchmetrics(protocol: Protocol) -> None:
    network, batches = tiny_segmenter().eval(), list(tiny_batch(("a", "b"), 2, side=24).values())
    found = calibration(network, batches, protocol)
    metric = MulticlassCalibrationError(4, BINS, ignore_index=IGNORE)
    pixels, confidence, right = np.zeros((3, BINS))
    for batch in batches:
        with torch.no_grad():
            scores = [network.segment(batch["image"])]
            scores += [network.segment(batch["image"].flip(-1)).flip(-1)] if protocol.flip else []
        probabilities = torch.stack([one.softmax(dim=1) for one in scores]).mean(dim=0)
        metric.update(probabilities, batch["label"])
        for values, truth in zip(probabilities.permute(0, 2, 3, 1).reshape(-1, 4).tolist(), batch["label"].flatten().tolist(), strict=True):
            if truth != IGNORE:
                place = min(int(max(values) * BINS), BINS - 1)
                pixels[place] += 1
                confidence[place] += max(values)
                right[place] += values.index(max(values)) == truth
    assert found.pixels.tolist() == pixels.tolist()
    assert sum(pixels > 0) > 2
    known = pixels > 0
    np.testing.assert_allclose(found.confidence[known], confidence[known] / pixels[known])
    np.testing.assert_allclose(found.accuracy[known], right[known] / pixels[known])
    assert np.isnan(found.confidence[~known]).all()
    assert found.error == pytest.approx(float(metric.compute()), rel=1e-5)
    assert found.overconfidence == pytest.approx((confidence.sum() - right.sum()) / pixels.sum())


def test_certainty_counts_in_the_last_interval_and_no_pixel_is_nan() -> None:
    sums = _sums(torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2), torch.tensor([[[0, 1], [IGNORE, 0]]]))
    assert sums[:, -1].tolist() == [3, 3, 2]
    assert not sums[:, :-1].any()
    assert _sums(torch.full((1, 2, 1, 1), torch.nan), torch.zeros(1, 1, 1, dtype=torch.long))[0].sum() == 1
    assert np.isnan(Calibration(np.zeros(BINS, int), *np.full((2, BINS), np.nan)).error)


def test_rows_are_shares() -> None:
    shares = row_shares(np.array([[3, 1], [0, 0]]))
    assert shares[0].tolist() == [0.75, 0.25]
    assert np.isnan(shares[1]).all()


def results(**changes: Any) -> Results:
    """Results of two targets, the first with changes."""
    target = {"miou": 0.3, "iou": {"road": 0.5, "car": 0.1, "bus": None}, "classes": ["road", "car"], "images": 5}
    target |= {"view": "native", "layout": "x", "image_scale": 1.0, "label_scale": 1.0}
    return Results.model_validate({"protocol": "whole@1", "statistics": "running", "targets": {"a": target | changes, "b": target}})


def test_gain_by_hand() -> None:
    better = results(miou=0.4, iou={"road": 0.75, "car": 0.05, "bus": None})
    gain = class_gain(better.model_copy(update={"protocol": "sliding_768@1"}), results())
    assert gain.targets == ("a", "b")
    np.testing.assert_allclose(gain.points, [[25, -5, np.nan], [0, 0, np.nan]])
    np.testing.assert_allclose(gain.miou, [10, 0])
    assert gain.differing == {"protocol": ("sliding_768@1", "whole@1")}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"images": 4}, "images 5 against 4"),
        ({"view": "half"}, "half"),
        ({"image_scale": 0.5}, "image_scale 1.0 against 0.5"),
        ({"iou": {"road": 0.5}}, "other classes"),
        ({"classes": ["road"]}, "other classes"),
    ],
)
def test_scores_of_other_pixels_are_not_compared(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        class_gain(results(), results(**changes))


def test_stand_ins_have_no_gain_over_photographs() -> None:
    drawn = results().model_copy(update={"stand_in": True})
    with pytest.raises(ConfigurationError, match="STAND-IN scores cannot stand next to real ones"):
        class_gain(drawn, results())
    class_gain(drawn, drawn)


def test_no_common_target() -> None:
    with pytest.raises(ConfigurationError, match="no target in common"):
        class_gain(results(), Results(targets={"c": results().targets["a"]}))
    unlabelled = results(miou=None, iou={"road": None, "car": None, "bus": None})
    unlabelled = Results(targets={"a": unlabelled.targets["a"]})
    with pytest.raises(ConfigurationError, match="nothing to compare"):
        class_gain(unlabelled, unlabelled)


def test_tsne_keeps_clusters_apart_and_is_repeated_by_its_seed() -> None:
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(size=(1, 8)) + 0.05 * rng.normal(size=(12, 8)) for _ in range(3)])
    places = tsne(vectors, seed=5, perplexity=6)
    np.testing.assert_array_equal(places, tsne(vectors, seed=5, perplexity=6))
    apart = np.linalg.norm(places[:, None] - places, axis=-1) + 1e9 * np.eye(36)
    assert (apart.argmin(axis=1) // 12).tolist() == [0] * 12 + [1] * 12 + [2] * 12  # each one's neighbour is of its own cluster
    assert np.isfinite(tsne(vectors[:3])).all()
    with pytest.raises(ValueError, match="three points"):
        tsne(vectors[:2])


def test_the_perplexity_that_is_reported_is_the_one_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    manifold = pytest.importorskip("sklearn.manifold")
    taken, original = [], manifold.TSNE
    monkeypatch.setattr(manifold, "TSNE", lambda *args, **options: taken.append(options["perplexity"]) or original(*args, **options))
    tsne(np.random.default_rng(0).normal(size=(16, 4)), perplexity=30)
    assert taken == [used_perplexity(16, 30)] == [5.0]
    assert used_perplexity(100, 30) == 30
