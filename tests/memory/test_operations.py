"""Memory operations and losses against plain loops in float64 that follow the equations letter by letter."""

import math

import pytest
import torch
import torch.nn.functional as F

from pin_memory.memory import CategoricalMemory, operations
from pin_memory.methods.losses import cross_entropy, feature_cohesion, memory_classification, memory_divergence
from pin_memory.utils.errors import ConfigurationError

K, C = 5, 7


def scene(
    batch: int = 2, size: tuple[int, int] = (4, 3), label_size: tuple[int, int] = (9, 11), seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random features `(B, C, h, w)` and labels `(B, H, W)`, of which class 4 is absent and some pixels are ignored."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, C, *size, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, K - 1, (batch, *label_size), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = 255
    return features, labels


def unit(vector: list[float]) -> list[float]:
    """A list scaled to length 1."""
    length = math.sqrt(sum(v * v for v in vector))
    return [v / length if length else 0.0 for v in vector]


def dot(a: list[float], b: list[float]) -> float:
    """Scalar product of two lists."""
    return sum(x * y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("temperature", [1.0, 0.1, 3.0])
def test_read_equals_a_loop_over_cells(temperature: float) -> None:
    """Cosine similarity, soft-max over the items, mixture of the items."""
    features, _ = scene()
    items = operations.unit(torch.randn(K, C, dtype=torch.float64))
    scores = operations.similarity(operations.unit(features), items)
    mixed = operations.read_out(scores, items, temperature=temperature)
    rows = items.tolist()
    for b in range(features.shape[0]):
        for y in range(features.shape[2]):
            for x in range(features.shape[3]):
                query = unit(features[b, :, y, x].tolist())
                cosines = [dot(query, row) for row in rows]
                powers = [math.exp(c / temperature) for c in cosines]
                expected = [sum(p / sum(powers) * row[c] for p, row in zip(powers, rows, strict=True)) for c in range(C)]
                assert scores[b, :, y, x].tolist() == pytest.approx(cosines, rel=1e-10, abs=1e-12)
                assert mixed[b, :, y, x].tolist() == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("size", [(4, 3), (1, 1), (9, 11), (1, 5), (13, 2), (17, 20)])
def test_class_shares_equal_the_resized_one_hot_map(size: tuple[int, int]) -> None:
    """The gathered four taps are the bilinear resize of the one-hot map, enlarged or reduced; ignore takes a share."""
    _, labels = scene(seed=3)
    one_hot = F.one_hot(torch.where(labels == 255, K, labels), K + 1).permute(0, 3, 1, 2).double()
    expected = F.interpolate(one_hot, size=size, mode="bilinear", align_corners=True)[:, :K]
    torch.testing.assert_close(operations.class_shares(labels, size, K, torch.float64), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(4, 3), (1, 1), (5, 7)])
def test_shares_by_area_count_every_pixel(size: tuple[int, int]) -> None:
    """A loop over the pixels; a class of a single pixel is not lost, as it can be with four taps a cell."""
    _, labels = scene(seed=3)
    labels[0, 6, 5] = K - 1
    expected = torch.zeros(labels.shape[0], K + 1, *size, dtype=torch.float64)
    for b in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                k = int(labels[b, y, x]) if labels[b, y, x] < K else K
                expected[b, k, int((y + 0.5) * size[0] / labels.shape[1]), int((x + 0.5) * size[1] / labels.shape[2])] += 1
    expected = (expected / expected.sum(1, keepdim=True))[:, :K]
    found = operations.class_shares_by_area(labels, size, K, torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert found[0, K - 1].sum() > 0


def test_shares_of_the_memory_are_an_option() -> None:
    """The two ways of shrinking a label map give different writes; others are refused."""
    torch.manual_seed(0)
    features, labels = scene()
    memories = [CategoricalMemory(K, C, shares=shares).double() for shares in ("bilinear", "area")]
    memories[1].load_state_dict(memories[0].state_dict())
    written = [memory.write(features, labels) for memory in memories]
    assert not torch.allclose(*written)
    with pytest.raises(ConfigurationError, match="bilinear, area"):
        CategoricalMemory(shares="nearest")


def test_unlisted_labels_have_no_share() -> None:
    """Labels outside 0..K-1, whatever they are, count as ignored."""
    labels = torch.tensor([[[0, 1], [K, 200]]])
    shares = operations.class_shares(labels, (2, 2), K)
    assert shares.sum() == 2
    assert shares[0, :, 1].sum() == 0


def test_write_equals_a_loop_over_classes() -> None:
    """Masked average pooling, momentum, normalisation; an absent class keeps its item."""
    features, labels = scene(seed=1)
    items = operations.unit(torch.randn(K, C, dtype=torch.float64))
    vectors, shares = operations.unit(features), operations.class_shares(labels, (4, 3), K, torch.float64)
    written = operations.momentum_write(items, *operations.class_sums(vectors, shares), momentum=0.8)
    for k in range(K):
        total, sums = 0.0, [0.0] * C
        for b in range(2):
            for y in range(4):
                for x in range(3):
                    share = float(shares[b, k, y, x])
                    total += share
                    sums = [s + share * v for s, v in zip(sums, unit(features[b, :, y, x].tolist()), strict=True)]
        old = items[k].tolist()
        expected = unit([0.8 * m + 0.2 * s / total for m, s in zip(old, sums, strict=True)]) if total else old
        assert written[k].tolist() == pytest.approx(expected, rel=1e-10, abs=1e-12)
    torch.testing.assert_close(written[4], items[4])


def test_write_keeps_a_row_that_was_never_set_at_zero() -> None:
    """An unseen class of a fresh memory stays a zero vector instead of becoming NaN."""
    memory = CategoricalMemory(K, C).double()
    features, labels = scene()
    written = memory.write(features, labels)
    assert torch.isfinite(written).all()
    assert not written[4].any()
    torch.testing.assert_close(written[:4].norm(dim=1), torch.ones(4, dtype=torch.float64))


def test_write_changes_no_state_and_no_gradient_reaches_the_items() -> None:
    """Items are a constant of the write; only `commit` stores."""
    memory = CategoricalMemory(K, C).double().eval()
    items = operations.unit(torch.randn(K, C, dtype=torch.float64)).requires_grad_()
    features, labels = scene()
    written = memory.write(features.requires_grad_(), labels, items)
    written.sum().backward()
    assert items.grad is None
    assert features.grad is not None
    assert features.grad.any()
    assert memory.update.conv.weight.grad is not None
    assert not memory.initialised
    memory.commit(written)
    assert memory.initialised
    torch.testing.assert_close(memory.items, written.detach())


def test_losses_equal_loops() -> None:
    """Cohesion, divergence and classification, pixel by pixel and pair by pair."""
    _, labels = scene(seed=2)
    similarity = torch.randn(2, K, 4, 3, dtype=torch.float64)
    large = F.interpolate(similarity / 0.5, size=labels.shape[-2:], mode="bilinear", align_corners=True)
    total, number = 0.0, 0
    for b in range(2):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                if labels[b, y, x] != 255:
                    scores = large[b, :, y, x].tolist()
                    total += math.log(sum(map(math.exp, scores))) - scores[labels[b, y, x]]
                    number += 1
    assert float(feature_cohesion(similarity, labels, 0.5)) == pytest.approx(total / number, rel=1e-10)

    items = operations.unit(torch.randn(K, C, dtype=torch.float64))
    rows = items.tolist()
    pairs = [max(0.0, dot(rows[i], rows[j])) for i in range(K) for j in range(K) if i != j]
    assert float(memory_divergence(items)) == pytest.approx(sum(pairs) / len(pairs), rel=1e-10)

    logits = torch.randn(K, K, dtype=torch.float64)
    terms = [math.log(sum(map(math.exp, row))) - row[k] for k, row in enumerate(logits.tolist())]
    assert float(memory_classification(logits)) == pytest.approx(sum(terms) / K, rel=1e-10)


def test_nothing_labelled_contributes_nothing() -> None:
    """Where the released code steps on NaN, the loss and its gradient are zero."""
    logits = torch.randn(1, K, 4, 4, requires_grad=True)
    loss = cross_entropy(logits, torch.full((1, 4, 4), 255))
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_gumbel_noise_belongs_to_training_only() -> None:
    """Two reads differ while training, never in evaluation and never with `gumbel=False`."""
    features, _ = scene()
    memory = CategoricalMemory(K, C).double()
    memory.commit(operations.unit(torch.randn(K, C, dtype=torch.float64)))
    memory.fusion[1].eval()
    assert not torch.equal(memory.read(features).fused, memory.read(features).fused)
    memory.gumbel = False
    assert torch.equal(memory.read(features).fused, memory.read(features).fused)
    memory.gumbel = True
    memory.eval()
    assert torch.equal(memory.read(features).fused, memory.read(features).fused)


def test_items_are_state_and_not_parameters() -> None:
    """The items travel with the state dict and reach no optimiser."""
    memory = CategoricalMemory(K, C)
    assert "items" in memory.state_dict()
    assert "items" not in dict(memory.named_parameters())


def test_write_is_in_full_precision_under_autocast() -> None:
    """Positions of the taps, sums and unit rows do not go through bfloat16; the result is that of the float32 features."""
    memory = CategoricalMemory(K, C).eval()
    features = torch.randn(1, C, 48, 48)
    labels = torch.randint(0, K, (1, 768, 768))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(memory.write(features, labels), memory.write(features.float(), labels))
        half = memory.write(features.bfloat16(), labels)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, memory.write(features.bfloat16().float(), labels))


def test_noise_in_evaluation_is_an_option() -> None:
    """As the released evaluation samples: two reads differ in eval mode, too."""
    features, _ = scene()
    memory = CategoricalMemory(K, C, gumbel_in_evaluation=True).double().eval()
    memory.commit(operations.unit(torch.randn(K, C, dtype=torch.float64)))
    assert not torch.equal(memory.read(features).fused, memory.read(features).fused)


def test_read_temperature_reaches_training_and_evaluation() -> None:
    """The noise is added to the similarities as they are after division, so a low temperature drowns it."""
    features, _ = scene()
    items = operations.unit(torch.randn(K, C, dtype=torch.float64))
    scores = operations.similarity(operations.unit(features), items)
    nearest = items[scores.argmax(dim=1)].movedim(-1, 1)
    sharp = CategoricalMemory(K, C, read_temperature=1e-6).double()
    sharp.commit(items)
    for training in (True, False):
        sharp.train(training).fusion.eval()
        queries = operations.unit(features)
        torch.testing.assert_close(sharp.read(features).fused, sharp.fusion(torch.cat([queries, nearest], dim=1)))
    with pytest.raises(ConfigurationError, match="read_temperature"):
        CategoricalMemory(K, C, read_temperature=0.0)
