"""The loss of a segmentation that all methods share, with what a method adds to it."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from pin_memory.memory import Reading
from pin_memory.methods.alignment import Aligned, TextAlignmentLoss
from pin_memory.methods.losses import auxiliary_loss, cross_entropy
from pin_memory.methods.optimisation import ManualOptimizationMixin
from pin_memory.methods.reweighting import reliability_numbers
from pin_memory.methods.whitening import InstanceSelectiveWhitening
from pin_memory.networks import Encoding, MemorySegmenter


class SegmentationLossMixin(ManualOptimizationMixin):
    """Cross entropy, the auxiliary head's loss, and those that a method has by option.

    Attributes:
        network: What is trained.
        auxiliary_weight: Weight of the auxiliary head's loss.
        whitening: RobustNet's loss, or None.
        alignment: The alignment with text and the reweighting after PPAR, or None.
    """

    network: MemorySegmenter
    auxiliary_weight: float
    whitening: InstanceSelectiveWhitening | None
    alignment: TextAlignmentLoss | None

    def segmentation_loss(
        self,
        reading: Reading,
        encoding: Encoding,
        labels: Tensor,
        run: Callable[..., Any] | None = None,
        step: str = "",
        domains: Sequence[str] = (),
    ) -> Tensor:
        """`L_seg + w_aux L_aux`, the latter of a network with auxiliary head, and what the method adds: RobustNet's loss, the alignment.

        `run` runs a stage by name, with fast weights for example (by default the network's own); `step` is put before the names of the
        losses that are logged; `domains` are the names of the images' domains.
        """
        run = run or self.run_stage
        aligned = self._align(encoding.features, labels, run, step, domains)
        weights = aligned.weights if aligned else None
        logits = run("decode", reading, encoding, (labels.shape[-2], labels.shape[-1]))
        loss = cross_entropy(logits, labels, weights, self.network.cells)
        self.log_losses(**{f"{step}segmentation": loss})
        if self.network.auxiliary_head is not None:
            auxiliary = auxiliary_loss(run("auxiliary", encoding), labels, weights, self.network.cells)
            self.log_losses(**{f"{step}auxiliary": auxiliary})
            loss = loss + self.auxiliary_weight * auxiliary
        if self.whitening is not None:
            whitening = self.whitening.loss(encoding.whitened)
            self.log_losses(**{f"{step}whitening": whitening})
            loss = loss + self.whitening.weight * whitening
        return loss + aligned.total if aligned else loss

    def _align(self, features: Tensor, labels: Tensor, run: Callable[..., Any], step: str, domains: Sequence[str]) -> Aligned | None:
        """Losses and weights of the alignment with text, logged; None for a method without."""
        if self.alignment is None or self.alignment.is_off:
            return None
        text = self.network.require_alignment().prototypes
        aligned = self.alignment.of(run, features, text, labels, self.iteration, domains, self.network.cells)
        self.log_losses(**{f"{step}{name}": value for name, value in aligned.terms.items()})
        if self.should_log:
            self.log_dict({"alignment/share": self.alignment.share(self.iteration), "alignment/ramp": self.alignment.rho(self.iteration)})
            if aligned.reliability is not None and aligned.labels is not None:
                numbers = reliability_numbers(aligned.reliability, aligned.labels, domains)
                self.log_now({f"reliability/{step}{name}": value for name, value in numbers.items()})
        return aligned

    def run_stage(self, stage: str, *args: Any) -> Any:
        """Run a stage of the network with its own weights."""
        return self.network(*args, stage=stage)
