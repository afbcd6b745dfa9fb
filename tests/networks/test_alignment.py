"""The part of a network that aligns with text: projection, and text that looks at an image."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from pin_memory.exporting.graph import InferenceGraph
from pin_memory.memory import TextPrototypes
from pin_memory.networks import MemorySegmenter, TextAlignment
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.tiny import TinyBackbone, tiny_alignment, tiny_segmenter


def made(classes: int = 4, gamma: float | None = None) -> TextAlignment:
    """An alignment in evaluation mode, in float64, whose residual is as large as its text unless told otherwise."""
    torch.manual_seed(1)
    alignment: TextAlignment = tiny_alignment(classes)(6, classes).double().eval()
    with torch.no_grad():
        alignment.gamma.fill_(1.0 if gamma is None else gamma)
    return alignment


def projected(images: int = 3) -> Tensor:
    """Unit vectors of cells."""
    cells = torch.randn(images, 8, 2, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return nn.functional.normalize(cells, dim=1)


def test_without_a_residual_visual_text_is_the_text() -> None:
    alignment = made(gamma=0.0)
    for rows in alignment.visual_text(projected()):
        assert torch.equal(rows, alignment.prototypes)


def test_visual_text_is_the_formula() -> None:
    """`unit(T + γ Dec(T, [mean; cells]))`, image by image, with the decoder's layers as PyTorch documents them."""
    alignment, cells = made(), projected()
    found, decoder = alignment.visual_text(cells), alignment.decoder
    for image, rows in zip(cells, found, strict=True):
        tokens = image.reshape(8, 10).T
        visual = decoder.visual_in(torch.cat([tokens.mean(dim=0)[None], tokens]))
        text = decoder.text_in(alignment.text)
        for layer in decoder.layers:
            text = text + attended(layer.self_attn, layer.norm1(text), layer.norm1(text))
            text = text + attended(layer.multihead_attn, layer.norm2(text), visual)
            text = text + layer.linear2(nn.functional.gelu(layer.linear1(layer.norm3(text))))
        expected = alignment.text + alignment.gamma * decoder.out(text)
        torch.testing.assert_close(rows, expected / expected.norm(dim=1, keepdim=True), rtol=1e-10, atol=1e-12)


def attended(attention: nn.MultiheadAttention, queries: Tensor, keys: Tensor) -> Tensor:
    """Attention of queries `(Q, W)` on keys `(N, W)`, head by head."""
    projections = zip(attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), (queries, keys, keys), strict=True)
    query, key, value = (vectors @ weight.T + bias for weight, bias, vectors in projections)
    heads = []
    for q, k, v in zip(*(part.chunk(attention.num_heads, dim=1) for part in (query, key, value)), strict=True):
        heads.append((q @ k.T / q.shape[1] ** 0.5).softmax(dim=1) @ v)
    return attention.out_proj(torch.cat(heads, dim=1))


def test_the_order_of_cells_does_not_matter() -> None:
    alignment, cells = made(), projected()
    order = torch.randperm(10, generator=torch.Generator().manual_seed(4))
    moved = cells.flatten(2)[:, :, order].view_as(cells)
    torch.testing.assert_close(alignment.visual_text(moved), alignment.visual_text(cells), rtol=1e-10, atol=1e-12)


def test_classes_that_change_places_only_change_places() -> None:
    alignment, cells, order = made(), projected(), torch.tensor([2, 0, 3, 1])
    before = alignment.visual_text(cells)
    alignment.text = alignment.text[order]
    torch.testing.assert_close(alignment.visual_text(cells), before[:, order], rtol=1e-10, atol=1e-12)


def test_each_image_has_its_own_context() -> None:
    alignment, cells = made(), projected()
    before = alignment.visual_text(cells)
    other = torch.cat([cells[:1], nn.functional.normalize(cells[1:] + 1, dim=1)])
    after = alignment.visual_text(other)
    torch.testing.assert_close(after[0], before[0], rtol=1e-12, atol=1e-14)
    assert not torch.allclose(after[1], before[1], atol=1e-3)


def test_no_gradient_reaches_the_cells() -> None:
    """The prototypes come to the image; all of the part itself learns."""
    alignment, cells = made(), projected().requires_grad_()
    alignment.visual_text(cells).square().sum().add(alignment.visual_text(cells)[..., 0].sum()).backward()
    assert cells.grad is None
    assert alignment.gamma.grad is not None
    assert all(parameter.grad is not None for parameter in alignment.decoder.parameters())


def test_what_is_projected_has_unit_length_and_both_signs() -> None:
    alignment = made()
    found = alignment.project(torch.randn(2, 6, 3, 4, dtype=torch.float64))
    assert found.shape == (2, 8, 3, 4)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2, 3, 4, dtype=torch.float64), rtol=1e-12, atol=0)
    assert (found < 0).any()
    assert (found > 0).any()


def test_vectors_are_of_single_precision_under_autocast() -> None:
    alignment = made().float()
    with torch.autocast("cpu", torch.bfloat16):
        cells = alignment.project(torch.randn(2, 6, 3, 4))
        assert cells.dtype == alignment.visual_text(cells).dtype == torch.float32


def test_visual_text_can_be_differentiated_twice() -> None:
    """Fused attention could not; in training mode with dropout, too."""
    alignment = made().train()
    loss = alignment.visual_text(projected())[..., 0].sum()
    (first,) = torch.autograd.grad(loss, [alignment.gamma], create_graph=True)
    assert all(g.isfinite().all() for g in torch.autograd.grad(first.square().sum(), list(alignment.decoder.parameters())))


def test_the_other_parts_of_the_network_are_those_of_the_plain_one() -> None:
    """Same random weights; prediction and exported graph do not know of the alignment."""
    torch.manual_seed(0)
    plain = MemorySegmenter(TinyBackbone(), 4, 6, auxiliary_channels=4)
    torch.manual_seed(0)
    network = MemorySegmenter(TinyBackbone(), 4, 6, auxiliary_channels=4, alignment=tiny_alignment())
    state = {name: value for name, value in network.state_dict().items() if not name.startswith("alignment.")}
    assert state.keys() == plain.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in plain.state_dict().items())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(network.eval()(images), plain.eval()(images))
    graph = InferenceGraph(network)
    assert not any("alignment" in name for name in graph.state_dict())
    assert torch.equal(graph(images), plain(images))
    assert network.alignment is not None


def test_a_checkpoint_has_the_text() -> None:
    """A network that is built without the file gets the rows from the state dict."""
    saved = tiny_segmenter(alignment=tiny_alignment())
    fresh = tiny_segmenter(alignment=partial(TextAlignment, text=TextPrototypes(None, 4, 8, rows="checkpoint"), width=8, layers=2, heads=2))
    assert not fresh.require_alignment().text.any()
    fresh.load_state_dict(saved.state_dict())
    assert torch.equal(fresh.require_alignment().text, saved.require_alignment().text)


def test_mistakes_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="for each of the network's 5 classes, found 4"):
        tiny_segmenter(5, alignment=tiny_alignment(4))
    with pytest.raises(ConfigurationError, match="heads=3 does not divide"):
        tiny_segmenter(alignment=tiny_alignment(heads=3))
    with pytest.raises(ConfigurationError, match=r"network\.alignment\.dropout"):
        tiny_segmenter(alignment=tiny_alignment(dropout=1.5))
    with pytest.raises(TypeError, match="no text to align with"):
        tiny_segmenter().project(torch.zeros(1, 6, 2, 2))
