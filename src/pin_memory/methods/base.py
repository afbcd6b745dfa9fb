"""What all training methods share: optimiser step, schedule, and what they refuse to train with."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from lightning.pytorch import Trainer
from pydantic import SkipValidation
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from pin_memory.inference.batch_norm import RUNNING, BatchNormStatistics, has_batch_norm
from pin_memory.inference.protocol import WHOLE, Protocol
from pin_memory.methods.alignment import TextAlignmentLoss
from pin_memory.methods.batches import DomainBatch, Randomisation, merge, randomise
from pin_memory.methods.evaluation import DomainEvaluationMixin
from pin_memory.methods.finite import Policy
from pin_memory.methods.frozen_base import FrozenBase, completed, replaces_constants, without_constants
from pin_memory.methods.optimisation import grouped
from pin_memory.methods.schedules import is_torch_schedule
from pin_memory.methods.segmentation import SegmentationLossMixin
from pin_memory.methods.trainer_checks import check_trainer
from pin_memory.methods.whitening import InstanceSelectiveWhitening
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.distributed import broadcast_state, mean_over_ranks, rank, world_size
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.validation import Count, NotNegative, Positive, validated

log = logging.getLogger(__name__)


@validated("method")
class Method(SegmentationLossMixin, DomainEvaluationMixin):
    """A training method: manual optimisation, and evaluation by a confusion matrix for each domain.

    Args:
        network: What is trained.
        optimizer: Makes the optimiser from the parameters.
        schedule: Factor on the learning rate as a function of the iteration, or what makes a schedule of PyTorch from the optimiser
            (a `functools.partial` of its class); constant if None.
        auxiliary_weight: Weight of the auxiliary head's loss.
        train_statistics: What batch normalisation normalises by while training, one of `train_policies`: "mixture", all images of the
            iteration; "frozen", the backbone's running statistics, which stay as they are (its pretrained weights have fitting ones).
        freeze_statistics_after: Iterations after which `train_statistics` is "frozen": statistics of the sources in place of the
            pretraining's, and steps as with those of a test; None for never.
        whitening: Adds RobustNet's loss; needs a backbone with `instance_norm=isw`.
        alignment: Adds the alignment with text and the reweighting after PPAR; needs a network with `alignment`.
        test_statistics: What batch normalisation normalises by in validation and tests.
        protocol: How the network is applied to the images of a test; validation always predicts whole images, once.
        gradient_clip: Largest norm of the total gradient, over all parameters and after the reduction over the ranks; None for any.
        on_non_finite: "raise" stops the run at a loss, a gradient or a memory row that is not finite; "skip" leaves the step out, counted.
        backbone_lr_factor: Factor on the learning rate for the backbone; below 1 where its weights are good already.
        randomisation: Changes the images of each training step, whose labels stay as they are; None for none.

    Attributes:
        base: The file that a frozen backbone's weights are those of, which checkpoints then leave out; None: they hold everything.

    Raises:
        ConfigurationError: Another `train_statistics`, a whitening loss without the maps it looks at, or a setting out of its range.
    """

    name: ClassVar[str]
    train_policies: ClassVar[tuple[str, ...]] = ("mixture", "frozen")
    base: FrozenBase | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        """A method without a name of its own has that of its class, never that of the method it is made from."""
        super().__init_subclass__(**options)
        if "name" not in vars(cls):
            cls.name = cls.__name__

    def __init__(
        self,
        network: SkipValidation[MemorySegmenter],
        optimizer: Callable[[Any], Optimizer],
        schedule: Callable[[int], float] | None = None,
        auxiliary_weight: NotNegative = 0.4,
        train_statistics: str = "mixture",
        freeze_statistics_after: Count | None = None,
        whitening: InstanceSelectiveWhitening | None = None,
        alignment: TextAlignmentLoss | None = None,
        test_statistics: BatchNormStatistics = RUNNING,
        protocol: Protocol = WHOLE,
        gradient_clip: Positive | None = None,
        on_non_finite: Policy = "raise",
        backbone_lr_factor: Positive = 1.0,
        randomisation: Randomisation | None = None,
    ) -> None:
        super().__init__(gradient_clip, on_non_finite)
        if train_statistics not in self.train_policies:
            raise ConfigurationError(
                f"method.train_statistics={train_statistics}: method={self.name} normalises by one of {', '.join(self.train_policies)}."
            )
        if (train_statistics == "frozen" or freeze_statistics_after) and not has_batch_norm(network.backbone):
            setting = f"freeze_statistics_after={freeze_statistics_after}" if freeze_statistics_after else "train_statistics=frozen"
            raise ConfigurationError(
                f"method.{setting}: the backbone has no batch norm, and nothing to freeze. Leave it out"
                " (network.backbone.freeze=all keeps its weights)."
            )
        test_statistics.check(network)
        if whitening is not None and not getattr(network.backbone, "whitens", False):
            raise ConfigurationError(
                "A whitening loss needs standardised maps: set network.backbone.instance_norm=isw (+whitening=isw does)."
            )
        if alignment is not None and network.alignment is None:
            raise ConfigurationError("method.alignment needs text to align with: set network.alignment (+alignment=text does).")
        self.train_statistics, self.freeze_statistics_after = train_statistics, freeze_statistics_after
        self.alignment, self.randomisation = alignment, randomisation
        self.whitening, self.test_statistics, self.protocol = whitening, test_statistics, protocol
        self.network = network
        self.auxiliary_weight, self.backbone_lr_factor = auxiliary_weight, backbone_lr_factor
        if not callable(optimizer) or not (schedule is None or callable(schedule)):
            raise ConfigurationError(
                f"optimizer={optimizer!r}, schedule={schedule!r}: expected complete groups, such as optimizer=sgd schedule=polynomial."
            )
        self._optimizer, self._schedule = optimizer, schedule

    def statistics_at(self, iteration: int) -> str:
        """What batch normalisation normalises by in an iteration (from 0)."""
        after = self.freeze_statistics_after
        return "frozen" if after is not None and iteration >= after else self.train_statistics

    def train(self, mode: bool = True) -> "Method":
        """Switch to training or evaluation; frozen running statistics stay frozen."""
        super().train(mode)
        if mode and self.train_statistics == "frozen":
            self._freeze_statistics()
        return self

    def _freeze_statistics(self) -> None:
        for module in self.network.backbone.modules():
            if isinstance(module, _BatchNorm):
                module.eval()

    def make_room(self, state: Mapping[str, Tensor]) -> None:
        """Register the buffers of a state dict that a fresh method does not have yet."""
        if self.whitening is not None:
            self.whitening.make_room(state, "whitening.", self.device)

    def load_state_dict(self, state_dict: Mapping[str, Any], *options: Any, **named: Any) -> Any:
        """Load as PyTorch does, with room for what a fresh method does not have yet, and a frozen backbone's own weights."""
        self.make_room(state_dict)
        if self.base is not None and replaces_constants(state_dict, self.state_dict(), self.network):
            self.base = None
        return super().load_state_dict(self.completed(state_dict), *options, **named)

    def completed(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """A state dict with the weights of the frozen backbone, which checkpoints leave out where their file is known."""
        return state if self.base is None else completed(state, self.state_dict(), self.network)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what can be read from a file again."""
        super().on_save_checkpoint(checkpoint)
        if self.base is not None:
            without_constants(checkpoint, self.network, self.base)

    def configure_optimizers(self) -> Any:
        """Make the optimiser over all parameters, and its schedule, which `step_optimizer` steps once an iteration."""
        self._warn_of_fast_transformers()
        try:
            optimizer, schedule = grouped(self._optimizer, self.network, self.backbone_lr_factor), self._schedule
            if is_torch_schedule(schedule):
                return [optimizer], [schedule(optimizer)]
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"The optimizer or the schedule refuses its settings: {error}.") from error
        # A function, not the object itself: PyTorch would put its settings into checkpoints, and a resumed run would keep the old horizon.
        return [optimizer], [LambdaLR(optimizer, lambda iteration: schedule(iteration) if schedule else 1.0)]

    def _warn_of_fast_transformers(self) -> None:
        """Warn where most weights of a vision transformer learn at the rate of the heads, which ruins pretrained ones."""
        backbone = self.network.backbone
        if self.network.cells.patch is None or self.backbone_lr_factor != 1 or not getattr(backbone, "pretrained", True):
            return
        learning = sum(parameter.numel() for parameter in backbone.parameters() if parameter.requires_grad)
        if 2 * learning > sum(parameter.numel() for parameter in backbone.parameters()):
            log.warning(
                "The vision transformer learns at the rate of the heads, at which pretrained weights are lost (docs/foundation.md). Set"
                " method.backbone_lr_factor=0.1, or network.backbone.freeze=all."
            )

    def check_sources(self, batch_sizes: Mapping[str, int]) -> None:
        """Refuse source domains, with their batch sizes by name, and networks that the method cannot train with."""
        if not batch_sizes:
            raise ConfigurationError("No source domain to train on: choose an experiment, or add one with +domain@data.sources.gtav=gtav.")
        for name, size in batch_sizes.items():
            if size < 2:
                raise ConfigurationError(
                    f"loading.batch_size={size} of the source {name}: batch normalisation after image pooling needs at least 2 images per"
                    " domain in training."
                )

    def check_classes(self, classes: Sequence[str]) -> None:
        """Refuse a network of another number of classes than the domains' labels have."""
        if self.network.num_classes != len(classes):
            raise ConfigurationError(
                f"network.num_classes={self.network.num_classes}: the domains' labels have {len(classes)} classes."
                f" Set network.num_classes={len(classes)}."
            )
        if self.network.alignment is not None:
            self.network.alignment.check_classes(classes)

    def check_trainer(self, trainer: Trainer) -> None:
        """Refuse what would train wrongly, before anything is launched: precision, strategy, clipping, number of steps."""
        check_trainer(trainer)

    def on_fit_start(self) -> None:
        """Check a Trainer that the user has made, freeze what is to be frozen, and give each rank noise of its own."""
        self.check_trainer(self.trainer)
        if self.network.alignment is not None and not self.network.alignment.text.any():
            raise ConfigurationError("text.rows=checkpoint: this is a new run, and no checkpoint has brought its text. Set text.rows=file.")
        self.train()
        if world_size() > 1:
            torch.manual_seed(torch.initial_seed() + rank())  # drop-out and Gumbel noise of their own; the weights are made already

    def gradients_of(self, loss: Tensor) -> dict[str, Tensor]:
        """Gradients of `loss` by parameter name, means over the ranks; zero for a parameter that it does not depend on."""
        self.objective = loss.detach()
        parameters = {name: p for name, p in self.network.named_parameters() if p.requires_grad}
        values = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
        return dict(zip(parameters, mean_over_ranks(values), strict=True))

    def on_train_batch_start(self, batch: DomainBatch, batch_idx: int) -> None:
        """Choose the covariances to whiten, freeze statistics, begin the iteration, and randomise its images, where that is asked for."""
        if self.whitening is not None and not self.whitening.masks and self.iteration >= self.whitening.warmup_iterations:
            log.info("Choosing the covariances to whiten.")
            passes = (self._source_images(10_000 + trial) for trial in range(self.whitening.trials))
            self.whitening.choose(self.network, passes, self.trainer.datamodule.data_sets)  # type: ignore[attr-defined]
        if self.statistics_at(self.iteration) == "frozen":
            if self.iteration == self.freeze_statistics_after:
                broadcast_state(self.network)  # on CPUs each rank has running statistics of its own
            self._freeze_statistics()  # also after a validation, which ends with `train`
        super().on_train_batch_start(batch, batch_idx)
        if self.randomisation is not None:
            randomise({name: part for name, part in batch.items() if "image" in part}, self.randomisation)

    def source_batches(self, number: int) -> Iterator[DomainBatch]:
        """A pass over the sources outside of the iterations, with draws of its own by its number."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        for batch in data.source_pass(number):  # moved and normalised as the Trainer does it for the steps
            yield data.on_after_batch_transfer(data.transfer_batch_to_device(batch, self.device, 0), 0)

    def _source_images(self, number: int) -> Iterator[Tensor]:
        """The images of such a pass, all sources together."""
        for batch in self.source_batches(number):
            yield merge(batch).images


def refuse_memory(method: Method) -> None:
    """Refuse a network with a memory, for methods that would leave it empty."""
    if method.network.memory is not None:
        raise ConfigurationError(f"method={method.name} trains the plain network, found one with a memory: set network.memory=null.")
