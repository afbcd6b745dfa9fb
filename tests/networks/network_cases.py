"""What every segmentation network must do; a network's test inherits this and says how to build it."""

import copy
import io

import pytest
import torch

from pin_memory.networks import MemorySegmenter


class NetworkCase:
    """Inherit and override `build`."""

    classes = 19

    def build(self) -> MemorySegmenter:
        """A fresh network."""
        raise AssertionError("override build()")

    @pytest.fixture
    def network(self) -> MemorySegmenter:
        """A fresh network from a fixed seed."""
        torch.manual_seed(0)
        return self.build()

    @pytest.mark.parametrize("size", [(64, 64), (65, 97), (33, 80)])
    def test_logits_have_the_size_of_the_image(self, network: MemorySegmenter, size: tuple[int, int]) -> None:
        """Any resolution, odd ones included."""
        with torch.inference_mode():
            logits = network.eval()(torch.randn(1, 3, *size))
        assert logits.shape == (1, self.classes, *size)
        assert torch.isfinite(logits).all()

    def test_evaluation_is_deterministic_and_image_by_image(self, network: MemorySegmenter) -> None:
        """No noise, and no image depends on its neighbours in the batch."""
        images = torch.randn(2, 3, 64, 64)
        with torch.inference_mode():
            together = network.eval()(images)
            apart = torch.cat([network(image.unsqueeze(0)) for image in images])
        # Round-off grows with the size of the logits.
        torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5 * max(1.0, float(apart.abs().max())))

    def test_state_survives_saving(self, network: MemorySegmenter) -> None:
        """Bitwise, weights only."""
        file = io.BytesIO()
        torch.save(network.state_dict(), file)
        other = self.build()
        other.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
        images = torch.randn(1, 3, 64, 64)
        with torch.inference_mode():
            assert torch.equal(network.eval()(images), other.eval()(images))

    def test_every_parameter_can_learn(self, network: MemorySegmenter) -> None:
        """Segmentation, auxiliary and memory outputs together reach every parameter."""
        labels = torch.randint(0, self.classes, (2, 64, 64))
        encoding = network.train().encode(torch.randn(2, 3, 64, 64))
        loss = network.decode(network.read(encoding.features), encoding, (64, 64)).sum()
        if network.auxiliary_head is not None:
            loss = loss + network.auxiliary(encoding).sum()
        if network.memory is not None:
            loss = loss + network.classify_items(network.write(encoding.features, labels)).square().sum()
        loss.backward()
        assert [name for name, p in network.named_parameters() if p.grad is None] == []

    def test_stages_work_with_other_parameters(self, network: MemorySegmenter) -> None:
        """`functional_call` by stage gives what a copy with these parameters gives."""
        other = copy.deepcopy(network)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        images = torch.randn(1, 3, 64, 64)
        with torch.inference_mode():
            found = torch.func.functional_call(network.eval(), dict(other.named_parameters()), (images,), {"stage": "encode"})
            assert torch.equal(found.features, other.eval().encode(images).features)
