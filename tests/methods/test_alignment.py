"""Alignment with text against plain loops, golden numbers, and the step of the method without it."""

import math
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pin_memory.methods import PPAR, TextAlignmentLoss
from pin_memory.methods.alignment import cell_labels, easy_cells, rise, text_loss
from pin_memory.methods.losses import cross_entropy
from pin_memory.methods.reweighting import cosines
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.stepping import ByHand, ERMByHand, ERMMemoryByHand, MetaSegNetByHand, MetaSegNetDGByHand, MLDGByHand, PinTheMemoryByHand
from tests.helpers.tiny import ridge_segmenter, tiny_alignment, tiny_batch, tiny_segmenter

SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
ANGLES, CLASSES = (0, 30, 60, 90, 100), (0, 0, 0, 0, 1)
LOSSES = (9.88e-10, 4.236431e-6, 0.693147180807, 12.371795719066, 1.238e-7)  # of the cells, at a temperature of 0.07
KINDS = [ERMByHand, ERMMemoryByHand, MLDGByHand, partial(MLDGByHand, first_order=False), MetaSegNetDGByHand, PinTheMemoryByHand]
KINDS += [partial(PinTheMemoryByHand, first_order=False), partial(PinTheMemoryByHand, train_statistics="mixture")]


class PPARByHand(ByHand, PPAR):
    """PPAR without a Trainer."""


def plane() -> tuple[Tensor, Tensor, Tensor]:
    """Cells `(1, 2, 1, 5)` and three prototypes in a plane, and the cells' labels."""
    cells, text = (torch.tensor([math.radians(a) for a in angles], dtype=torch.float64) for angles in (ANGLES, (0, 120, 240)))
    return (
        torch.stack([cells.cos(), cells.sin()]).view(1, 2, 1, 5),
        torch.stack([text.cos(), text.sin()], dim=1),
        torch.tensor([[[*CLASSES]]]),
    )


def drawn(images: int = 3, classes: int = 4, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Unit cells `(B, 6, 5, 7)`, unit rows, and labels of cells, some ignored."""
    generator = torch.Generator().manual_seed(seed)
    cells = nn.functional.normalize(torch.randn(images, 6, 5, 7, generator=generator, dtype=torch.float64), dim=1)
    text = nn.functional.normalize(torch.randn(classes, 6, generator=generator, dtype=torch.float64), dim=1)
    labels = torch.randint(0, classes + 1, (images, 5, 7), generator=generator)
    return cells, text, torch.where(labels == classes, 255, labels)


def test_losses_are_the_golden_ones() -> None:
    cells, text, labels = plane()
    scores = cosines(cells, text) / 0.07
    for place, expected in enumerate(LOSSES):
        alone = torch.full_like(labels, 255)
        alone[0, 0, place] = labels[0, 0, place]
        assert float(cross_entropy(scores, alone)) == pytest.approx(expected, rel=2e-4 if place in (0, 4) else 1e-6)
    assert float(cross_entropy(scores, labels)) == pytest.approx(2.6129894522169, rel=1e-12)


def test_the_alignment_is_a_loop_over_cells() -> None:
    """With prototypes of each image's own, and a curriculum; both losses and their sum."""
    cells, text, labels = drawn()
    visual = nn.functional.normalize(
        text + 0.3 * torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64), dim=2
    )
    stages = {"project": lambda features: features, "visual_text": lambda projected: visual}
    loss = TextAlignmentLoss(otp=0.3, vtp=0.2, regulariser=0.5, first_share=0.4, horizon=100, reweight=None)
    found = loss.of(lambda stage, argument: stages[stage](argument), cells, text, labels, iteration=40)
    share, ramp = 0.4 + 0.6 * 0.4 / 0.5, (0.4 - 0.25) / 0.5
    numbers: dict[int, list[tuple[float, float, float]]] = {}
    for b, i, j in (labels != 255).nonzero().tolist():
        cell, k = cells[b, :, i, j], int(labels[b, i, j])
        each = [float(((rows @ cell) / 0.07).logsumexp(dim=0) - rows[k] @ cell / 0.07) for rows in (text, visual[b])]
        numbers.setdefault(k, []).append((1 - float(text[k] @ cell), *each))
    easy = [cell for of_class in numbers.values() for cell in sorted(of_class)[: math.floor(share * len(of_class))]]
    otp, vtp = (sum(cell[place] for cell in easy) / len(easy) for place in (1, 2))
    kept = sum(float((text @ rows[k]).logsumexp(dim=0) - text[k] @ rows[k]) for rows in visual for k in range(4)) / 12
    assert {name: float(value) for name, value in found.terms.items()} == pytest.approx(
        {"otp": otp, "vtp": vtp, "regulariser": kept}, rel=1e-12
    )
    assert float(found.total) == pytest.approx(0.3 * otp + 0.2 * ramp * vtp + 0.5 * kept, rel=1e-12)
    assert found.weights is None


def test_gradients_are_those_of_finite_differences() -> None:
    cells, text, labels = drawn(1)
    leaf = cells.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: cross_entropy(cosines(z, text) / 0.5, labels), leaf)
    assert torch.autograd.gradcheck(lambda rows: text_loss(rows, text), text.expand(2, -1, -1).clone().requires_grad_())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.29, 0.7, 1.0])
def test_the_share_of_each_class_is_exact(share: float) -> None:
    """Of every class that is there, the easiest; 0.29 of 100 are 29; one at least."""
    cells, text, labels = drawn(20, seed=3)
    labels.view(-1)[labels.view(-1) == 2] = 255  # of which a single cell and exactly 100 of another class are left
    labels[0, 0, 0] = 2
    ones = (labels == 1).view(-1).nonzero().flatten()
    labels.view(-1)[ones[100:]] = 255
    scores = cosines(cells, text)
    chosen = easy_cells(scores, labels, share)
    assert not chosen[labels == 255].any()
    for k in range(4):
        own = labels == k
        number = int(own.sum())
        expected = max(1, round(share * 100) * number // 100)
        assert int(chosen[own].sum()) == expected
        difficulty = 1 - scores[:, k]
        if expected < number:
            assert float(difficulty[own & chosen].max()) <= float(difficulty[own & ~chosen].min())
    assert int((labels == 1).sum()) == 100


def test_the_first_of_equally_difficult_cells_are_taken() -> None:
    labels = torch.tensor([[[0, 1, 0, 0, 255, 0, 1]]])
    assert easy_cells(torch.ones(1, 2, 1, 7), labels, 0.5).tolist() == [[[True, True, True, False, False, False, False]]]


def test_the_curriculum_is_a_function_of_the_iteration() -> None:
    """It grows, and what is aligned once stays aligned while the features stay."""
    loss, (cells, text, labels) = TextAlignmentLoss(horizon=200), drawn()
    shares = [loss.share(iteration) for iteration in range(0, 201, 10)]
    assert shares[:3] == pytest.approx([0.3, 0.37, 0.44])
    assert shares[10:] == [1.0] * 11
    assert [loss.rho(iteration) for iteration in (0, 50, 75, 100, 150, 200, 999)] == pytest.approx([0, 0, 0.25, 0.5, 1, 1, 1])
    chosen = [easy_cells(cosines(cells, text), labels, share) for share in shares]
    assert all((later | ~earlier).all() for earlier, later in pairwise(chosen))
    assert torch.equal(chosen[-1], labels != 255)
    assert TextAlignmentLoss(curriculum=False).share(0) == 1
    assert TextAlignmentLoss(vtp=0).rho(40_000) == 0
    assert [rise(at, 0.5, 0.5) for at in (0.4, 0.5)] == [0, 1]


def test_cells_are_labelled_by_the_nearest_pixel_or_a_majority() -> None:
    labels = torch.tensor([[[0, 0, 1, 2], [0, 3, 1, 2], [255, 255, 3, 3], [255, 1, 3, 3]]])
    assert cell_labels(labels, (2, 2), 4).tolist() == [[[0, 1], [255, 3]]]
    assert cell_labels(labels, (2, 2), 4, majority=0.75).tolist() == [[[0, 255], [255, 3]]]


def method_of(kind: Any, loss: TextAlignmentLoss | None, **options: Any) -> Any:
    """A method with a tiny network that has an alignment, in training mode."""
    base, settings = getattr(kind, "func", kind), dict(getattr(kind, "keywords", {}))
    parts = {"alignment": tiny_alignment(dropout=0.0)}
    network = ridge_segmenter(**parts) if base is MetaSegNetDGByHand else tiny_segmenter(memory="Memory" in base.__name__, **parts)
    return base(network, SGD, alignment=loss, **settings, **options).prepare().train()


NOTHING = 1e-300
"""A weight with which a loss is computed and is 0 in single precision."""


@pytest.mark.parametrize(
    "loss",
    [
        TextAlignmentLoss(otp=0, vtp=0, reweight=None),
        TextAlignmentLoss(otp=NOTHING, vtp=NOTHING, regulariser=NOTHING, weight_range=(1.0, 1.0), horizon=3),
    ],
)
def test_without_weights_the_step_is_that_of_erm(loss: TextAlignmentLoss) -> None:
    """Bit by bit over three steps, with nothing at all, and with all parts running where losses weigh 0 and cells 1."""
    plain, aligned = (method_of(ERMByHand, each) for each in (None, loss))
    for step in range(3):
        for method in (plain, aligned):
            method.training_step(tiny_batch(), step)
    assert aligned.terms.keys() >= plain.terms.keys()
    assert ("otp" in aligned.terms) == bool(loss.reweight)
    for (name, expected), found in zip(plain.network.state_dict().items(), aligned.network.state_dict().values(), strict=True):
        assert torch.equal(found, expected) or name.startswith("alignment."), name


@pytest.mark.parametrize("kind", KINDS)
def test_every_method_takes_the_alignment(kind: Any) -> None:
    """All its parts learn; the features, too; and the second and later steps go on from there."""
    method, before = method_of(kind, TextAlignmentLoss(horizon=4, reweight="domain")), {}
    for step in range(4):
        if step == 3:  # where visual text counts
            before = {name: parameter.detach().clone() for name, parameter in method.network.named_parameters()}
        method.training_step(tiny_batch(), step)
    prefixes = ("inner_", "outer_") if hasattr(method, "inner_lr") else ("",)
    assert method.terms.keys() >= {f"{prefix}{term}" for prefix in prefixes for term in ("otp", "vtp", "regulariser")}
    assert all(math.isfinite(value) for value in method.terms.values())
    for name, parameter in method.network.named_parameters():
        if name.startswith("alignment."):
            assert not torch.equal(parameter, before[name]), name
    assert torch.equal(method.network.alignment.text, tiny_alignment()(6, 4).text)  # a constant


def test_running_statistics_do_not_see_passes_with_fast_weights() -> None:
    """The projector's batch norm counts the inner pass of an iteration alone."""
    method = method_of(MLDGByHand, TextAlignmentLoss(horizon=4))
    for step in range(2):
        method.training_step(tiny_batch(), step)
    assert int(method.network.alignment.projector[0][1].num_batches_tracked) == 2


def test_mistakes_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"network\.alignment \(\+alignment=text does\)"):
        ERMByHand(tiny_segmenter(memory=False), SGD, alignment=TextAlignmentLoss())
    with pytest.raises(ConfigurationError, match="needs an alignment with text"):
        PPARByHand(tiny_segmenter(memory=False), SGD).check_sources({"a": 2})
    with pytest.raises(ConfigurationError, match="nothing learns which cells"):
        TextAlignmentLoss(otp=0, vtp=0)
    with pytest.raises(ConfigurationError, match="smallest <= 1 <= largest"):
        TextAlignmentLoss(weight_range=(1.5, 2.0))
    with pytest.raises(ConfigurationError, match=r"leave out \+alignment"):
        MetaSegNetByHand(ridge_segmenter(), SGD, way=1, alignment=TextAlignmentLoss())
    wrong: dict[str, Any]
    for wrong in ({"otp": -1.0}, {"temperature": 0.0}, {"first_share": 1.1}, {"ramp": (0.7, 0.2)}, {"majority": 0.5}, {"horizon": -1}):
        with pytest.raises(ConfigurationError, match=rf"method\.alignment\.{next(iter(wrong))} "):
            TextAlignmentLoss(**wrong)
    with pytest.raises(ConfigurationError, match=r"method\.alignment\.reweight "):
        TextAlignmentLoss(reweight="batch")  # type: ignore[arg-type]
