"""MetaSegNet on episodes: its gradient, what leaks nowhere, what a test does not touch, and that it learns."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from pin_memory.memory import Classifier, LinearMemory, PrototypeMemory, RidgeMemory
from pin_memory.methods.losses import cross_entropy
from pin_memory.utils.errors import ConfigurationError, NonFiniteError
from tests.helpers.stepping import MetaSegNetByHand
from tests.helpers.tiny import WAY, few_shot_segmenter, ridge_segmenter, tiny_episodes, tiny_segmenter

SGD = partial(torch.optim.SGD, lr=0.01)


def made(head: type[Classifier] = RidgeMemory, **options: Any) -> MetaSegNetByHand:
    """The method in float64."""
    method = MetaSegNetByHand(few_shot_segmenter(head).double(), **{"optimizer": SGD, "way": WAY, **options}).prepare()
    assert isinstance(method, MetaSegNetByHand)
    return method


def test_the_gradient_is_that_of_the_query_loss_through_the_solution() -> None:
    """Central differences of episodes one by one along random directions of all parameters; α and λ are among them."""
    method, batch = made(), tiny_episodes()
    network = copy.deepcopy(method.network)
    method.training_step(batch, 0)

    def objective(direction: dict[str, Tensor], step: float) -> float:
        moved = copy.deepcopy(network)
        with torch.no_grad():
            for name, parameter in moved.named_parameters():
                parameter.add_(step * direction[name])
            images = torch.cat([batch[part]["image"].flatten(0, 1) for part in ("support", "query")])
            features = moved.encode(images).features
            losses, number = 0.0, 0
            for n in range(3):
                memory: Any = moved.memory
                items = memory.solve(memory.moments(features[4 * n : 4 * n + 4], batch["support"]["label"][n]))
                scores = memory.read(features[12 + 2 * n : 14 + 2 * n], items).similarity
                scores = torch.nn.functional.interpolate(scores, size=(16, 16), mode="bilinear", align_corners=True)
                truth = batch["query"]["label"][n]
                labelled = int((truth != 255).sum())
                losses, number = losses + float(cross_entropy(scores, truth)) * labelled, number + labelled
        return losses / number

    assert method.terms["total"] == pytest.approx(objective(method.gradients, 0.0), rel=1e-12)
    generator = torch.Generator().manual_seed(1)
    direction = {n: torch.randn(v.shape, generator=generator, dtype=torch.float64) for n, v in method.gradients.items()}
    numeric = (objective(direction, 1e-7) - objective(direction, -1e-7)) / 2e-7
    assert float(sum((method.gradients[n] * v).sum() for n, v in direction.items())) == pytest.approx(numeric, rel=1e-5)
    assert method.gradients["memory.log_lambda"] != 0
    assert method.gradients["memory.scale"] != 0


@pytest.mark.parametrize("head", [RidgeMemory, PrototypeMemory, LinearMemory])
def test_no_label_of_a_query_leaks(head: type[Classifier]) -> None:
    """Bit by bit: neither into a head, nor into a prediction, nor from one episode into another; nor does a test change anything."""
    method, batch = made(head), tiny_episodes(1)
    method.eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    expected = method.segment(batch)
    assert expected.shape == (1, WAY, 16, 16)
    other = copy.deepcopy(batch)
    other["query"]["label"] = (other["query"]["label"] + 1) % 3
    assert torch.equal(method.segment(other), expected)
    method.segment(tiny_episodes(1, seed=4))
    assert torch.equal(method.segment(batch), expected)
    other["support"]["label"] = (other["support"]["label"] + 1) % 3
    assert not torch.equal(method.segment(other), expected)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())

    heads = []
    for changed in (False, True):
        trained = made(head)
        fit = trained.memory.fit
        kept: list[Tensor] = []
        trained.memory.fit = lambda x, y, fit=fit, kept=kept: kept.append(fit(x, y)) or kept[-1]  # type: ignore[method-assign, func-returns-value]
        batch = tiny_episodes()
        batch["query"]["label"] = (batch["query"]["label"] + changed) % 3
        trained.training_step(batch, 0)
        heads.append((torch.stack(kept), trained.terms["total"]))
    assert torch.equal(heads[0][0], heads[1][0])
    assert heads[0][1] != heads[1][1]


def test_an_episode_is_segmented_by_its_own_head() -> None:
    method, batch = made(), tiny_episodes(1)
    method.eval()
    features = method.network.encode(batch["support"]["image"][0]).features
    items = method.network.write(features, batch["support"]["label"][0])  # of this one process
    query = method.network.encode(batch["query"]["image"][0])
    logits = method.network.decode(method.network.read(query.features, items), query, (16, 16))
    assert torch.equal(method.segment(batch)[0], logits.argmax(dim=1))
    assert not method.memory.initialised


def test_other_ways_than_in_training() -> None:
    """A network of two ways segments episodes of one."""
    method, batch = made(), tiny_episodes(1)
    method.network.set_classes(2)
    for part in ("support", "query"):
        batch[part]["label"] = torch.where(batch[part]["label"] == 2, 0, batch[part]["label"])
    assert set(method.eval().segment(batch).unique().tolist()) <= {0, 1}


@pytest.mark.parametrize("head", [RidgeMemory, PrototypeMemory, LinearMemory])
def test_it_learns_colours_it_has_not_seen(head: type[Classifier]) -> None:
    """Each episode has its own colours: nothing but the support says which is which."""
    method = MetaSegNetByHand(few_shot_segmenter(head), partial(torch.optim.Adam, lr=0.02), way=WAY).prepare()
    assert isinstance(method, MetaSegNetByHand)

    def loss_of(seed: int) -> float:
        batch = tiny_episodes(8, 32, seed)
        for part in ("support", "query"):
            batch[part]["image"] = batch[part]["image"].float()
        method.training_step(batch, seed)
        return method.terms["total"]

    losses = [loss_of(seed) for seed in range(40)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_numbers_that_are_not_finite_name_the_tiny_episodes() -> None:
    method, batch = made(), tiny_episodes()
    batch["query"]["image"][1] = torch.nan
    method.on_train_batch_start(batch, 0)
    with pytest.raises(NonFiniteError, match="Images of episodes: 0, 1, 2"):
        method.training_step(batch, 0)


def test_refusals() -> None:
    with pytest.raises(ConfigurationError, match="set data=episodes"):
        MetaSegNetByHand(few_shot_segmenter(), SGD)
    for network in (ridge_segmenter(), tiny_segmenter(), tiny_segmenter(memory=False)):
        with pytest.raises(ConfigurationError, match="learn nothing of a class"):
            MetaSegNetByHand(network, SGD, way=1)
    with pytest.raises(ConfigurationError, match="way must be"):
        MetaSegNetByHand(few_shot_segmenter(), SGD, way=0)
    with pytest.raises(ConfigurationError, match="No source domain"):
        made().check_sources({})
