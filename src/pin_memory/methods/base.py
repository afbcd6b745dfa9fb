"""What all training methods share: optimiser step, schedule, and what they refuse to train with."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from pin_memory.domains.loading.waiting import Stopwatch
from pin_memory.inference.batch_norm import RUNNING, BatchNormStatistics
from pin_memory.inference.protocol import WHOLE, Protocol
from pin_memory.memory import Reading
from pin_memory.methods.batches import DomainBatch, Labelled, merge
from pin_memory.methods.evaluation import DomainEvaluationMixin
from pin_memory.methods.losses import auxiliary_loss, cross_entropy
from pin_memory.methods.optimisation import ManualOptimizationMixin
from pin_memory.methods.whitening import InstanceSelectiveWhitening
from pin_memory.networks import Encoding, MemorySegmenter
from pin_memory.utils.distributed import mean_over_ranks, rank, world_size
from pin_memory.utils.errors import ConfigurationError

log = logging.getLogger(__name__)

PRECISIONS = ("32-true", "64-true", "bf16-mixed")
"""What a method trains correctly in; float16 needs loss scaling, which the gradients of two steps would have to undo."""


class Method(ManualOptimizationMixin, DomainEvaluationMixin):
    """A training method: optimisation by hand, evaluation by confusion matrices per domain.

    Args:
        network: What is trained.
        optimizer: Makes the optimiser from the parameters.
        schedule: Factor on the learning rate as a function of the iteration; constant if None.
        auxiliary_weight: Weight of the auxiliary head's loss.
        train_statistics: What batch normalisation normalises by while training, one of `train_policies`: "mixture", all images of the
            iteration; "frozen", the backbone's running statistics, which stay as they are (its pretrained weights have fitting ones).
        whitening: Adds RobustNet's loss; needs a backbone with `instance_norm=isw`.
        test_statistics: What batch normalisation normalises by in validation and tests.
        protocol: How the network is applied to the images of a test; validation is always of whole images, once.
        gradient_clip: Largest norm of the total gradient, over all parameters and after the reduction over the ranks; None for any.
        on_non_finite: "raise" stops the run at a loss, a gradient or a memory row that is not finite; "skip" leaves the step out, counted.

    Raises:
        ConfigurationError: Another `train_statistics`, a whitening loss without the maps it looks at, or a setting out of its range.
    """

    name: ClassVar[str]
    train_policies: ClassVar[tuple[str, ...]] = ("mixture", "frozen")

    def __init__(
        self,
        network: MemorySegmenter,
        optimizer: Callable[[Any], Optimizer],
        schedule: Callable[[int], float] | None = None,
        auxiliary_weight: float = 0.4,
        train_statistics: str = "mixture",
        whitening: InstanceSelectiveWhitening | None = None,
        test_statistics: BatchNormStatistics = RUNNING,
        protocol: Protocol = WHOLE,
        gradient_clip: float | None = None,
        on_non_finite: str = "raise",
    ) -> None:
        super().__init__(gradient_clip, on_non_finite)
        if train_statistics not in self.train_policies:
            raise ConfigurationError(
                f"method.train_statistics={train_statistics}: method={self.name} normalises by one of {', '.join(self.train_policies)}."
            )
        if whitening is not None and not getattr(network.backbone, "whitens", False):
            raise ConfigurationError(
                "A whitening loss needs standardised maps: set network.backbone.instance_norm=isw (+whitening=isw does)."
            )
        self.train_statistics = train_statistics
        self.whitening, self.test_statistics, self.protocol = whitening, test_statistics, protocol
        self.network = network
        self.auxiliary_weight = auxiliary_weight
        if not callable(optimizer) or not (schedule is None or callable(schedule)):
            raise ConfigurationError(
                f"optimizer={optimizer!r}, schedule={schedule!r}: expected a whole group each, such as optimizer=sgd schedule=polynomial."
            )
        self._optimizer, self._schedule = optimizer, schedule

    def train(self, mode: bool = True) -> "Method":
        """Switch to training or evaluation; frozen statistics stay frozen."""
        super().train(mode)
        if mode and self.train_statistics == "frozen":
            for module in self.network.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def make_room(self, state: Mapping[str, Tensor]) -> None:
        """Register the buffers of a state dict that a fresh method does not have yet."""
        if self.whitening is not None:
            self.whitening.make_room(state, "whitening.")

    def load_state_dict(self, state_dict: Mapping[str, Any], *options: Any, **named: Any) -> Any:
        """As PyTorch does, with room for what a fresh method does not have yet."""
        self.make_room(state_dict)
        return super().load_state_dict(state_dict, *options, **named)

    def configure_optimizers(self) -> Any:
        """The optimiser over all parameters, and its schedule stepped once an iteration by `step_optimizer`."""
        optimizer, schedule = self._optimizer(self.network.parameters()), self._schedule
        # A function, not the object itself: PyTorch would put its settings into checkpoints, and a resumed run would keep the old horizon.
        return [optimizer], [LambdaLR(optimizer, lambda iteration: schedule(iteration) if schedule else 1.0)]

    def check_sources(self, domains: list[str], batch_size: int) -> None:
        """Refuse source domains and networks that the method cannot train with.

        Raises:
            ConfigurationError: No source at all, or single-image batches.
        """
        if not domains:
            raise ConfigurationError("No source domain to train on: choose an experiment, or add one with +domain@data.sources.gtav=gtav.")
        if batch_size < 2:
            raise ConfigurationError(
                f"loading.batch_size={batch_size}: batch normalisation after image pooling needs at least 2 images per domain in training."
            )

    def check_classes(self, classes: Sequence[str]) -> None:
        """Refuse a network of another number of classes than the domains' labels have.

        Raises:
            ConfigurationError: It has.
        """
        if self.network.num_classes != len(classes):
            raise ConfigurationError(
                f"network.num_classes={self.network.num_classes}: the domains' labels have {len(classes)} classes."
                f" Say network.num_classes={len(classes)}."
            )

    def check_trainer(self, trainer: Trainer) -> None:
        """Refuse what would train wrongly, before anything is launched.

        Raises:
            ConfigurationError: Another precision than those that are right, a strategy that would split or reduce what the method does
                itself, Lightning's own clipping, or no step to make.
        """
        if trainer.precision not in PRECISIONS:
            raise ConfigurationError(f"trainer.precision={trainer.precision}: expected one of {', '.join(PRECISIONS)}.")
        refuse_clipping(trainer.gradient_clip_val)
        if trainer.max_steps == 0:
            raise ConfigurationError("trainer.max_steps=0 trains nothing: give a number of iterations, or -1 to train until it is stopped.")
        if trainer.world_size > 1 and not isinstance(trainer.strategy, DDPStrategy):
            raise ConfigurationError(
                f"trainer.strategy={type(trainer.strategy).__name__} on {trainer.world_size} devices: a method reduces gradients and memory"
                " itself, over whole replicas. Use trainer=ddp."
            )
        if trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler:
            raise ConfigurationError(
                "trainer.use_distributed_sampler=true would repeat evaluation images to make the devices' shares equal: set it to false;"
                " the data modules share the images out themselves."
            )

    def on_fit_start(self) -> None:
        """Refuse a Trainer that `check_trainer` refuses, for those who bring their own; freeze what is to be frozen."""
        self.check_trainer(self.trainer)
        self.train()
        if world_size() > 1:
            torch.manual_seed(torch.initial_seed() + rank())  # drop-out and Gumbel noise of their own; the weights are made already

    def segmentation_loss(
        self, reading: Reading, encoding: Encoding, labels: Tensor, run: Callable[..., Any] | None = None, step: str = ""
    ) -> Tensor:
        """`L_seg + w_aux L_aux`, and RobustNet's loss where the method has it.

        Args:
            reading: What the memory (or none) returned for the features.
            encoding: The encoder's outputs.
            labels: `(B, H, W)` train ids.
            run: Runs a stage by name, with fast weights for example; the network itself by default.
            step: Put before the logged names of the two terms.
        """
        run = run or self.run_stage
        segmentation = cross_entropy(run("decode", reading, encoding, labels.shape[-2:]), labels)
        auxiliary = auxiliary_loss(run("auxiliary", encoding), labels)
        self.log_losses(**{f"{step}segmentation": segmentation, f"{step}auxiliary": auxiliary})
        loss = segmentation + self.auxiliary_weight * auxiliary
        if self.whitening is None:
            return loss
        whitening = self.whitening.loss(encoding.whitened)
        self.log_losses(**{f"{step}whitening": whitening})
        return loss + self.whitening.weight * whitening

    def run_stage(self, stage: str, *args: Any) -> Any:
        """Run a stage of the network with its own weights."""
        return self.network(*args, stage=stage)

    def gradients_of(self, loss: Tensor) -> dict[str, Tensor]:
        """Gradients of `loss` by parameter name, means over the ranks; zero for a parameter that it does not depend on."""
        parameters = {name: p for name, p in self.network.named_parameters() if p.requires_grad}
        values = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
        return dict(zip(parameters, mean_over_ranks(values), strict=True))

    def on_train_batch_start(self, batch: DomainBatch, batch_idx: int) -> None:
        """Choose the covariances to whiten after the warm-up, then begin the iteration."""
        if self.whitening is not None and not self.whitening.masks and self.iteration >= self.whitening.warmup_iterations:
            log.info("Choosing the covariances to whiten.")
            passes = (self._source_images(10_000 + trial) for trial in range(self.whitening.trials))
            self.whitening.choose(self.network, passes, self.trainer.datamodule.data_sets)  # type: ignore[attr-defined]
        super().on_train_batch_start(batch, batch_idx)

    def source_batches(self, epoch: int) -> Iterator[DomainBatch]:
        """A pass over the source loaders with the draws of an epoch of its own."""
        loader = self.trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        loader.waiting = Stopwatch()  # its own: no training step waits for this pass
        for part in loader.flattened:
            part.sampler.set_epoch(epoch)
        for batch, *_ in iter(loader):
            yield self.trainer.precision_plugin.convert_input(batch)  # as the Trainer does for the steps: double images for 64-true

    def _source_images(self, epoch: int) -> Iterator[Tensor]:
        """The images of such a pass, all sources together."""
        for batch in self.source_batches(epoch):
            yield merge(batch).images.to(self.device)


def count(*parts: Labelled) -> int:
    """Number of images in the parts."""
    return sum(len(part.images) for part in parts)


def refuse_memory(method: Method) -> None:
    """Refuse a network with a memory, for methods that would leave it empty.

    Raises:
        ConfigurationError: It has one.
    """
    if method.network.memory is not None:
        raise ConfigurationError(f"method={method.name} trains the plain network, found one with a memory: set network.memory=null.")


def refuse_clipping(value: float | None) -> None:
    """Refuse Lightning's own gradient clipping (`trainer.gradient_clip_val`), which has no effect on a method."""
    if value is not None:
        raise ConfigurationError(
            f"trainer.gradient_clip_val={value} is for optimisers that Lightning steps; a method steps its own. Leave it out and set"
            f" method.gradient_clip={value}, the largest norm of the total gradient."
        )
