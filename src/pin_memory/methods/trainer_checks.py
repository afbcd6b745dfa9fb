"""What no method trains correctly with, in a Trainer's options."""

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy

from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.lightning_private import replaces_samplers
from pin_memory.utils.training_settings import PRECISIONS, refuse_clipping


def check_trainer(trainer: Trainer) -> None:
    """Refuse what would train wrongly, before anything is launched: precision, strategy, clipping, number of steps."""
    if trainer.precision not in PRECISIONS:
        raise ConfigurationError(f"trainer.precision={trainer.precision}: expected one of {', '.join(PRECISIONS)}.")
    refuse_clipping(trainer.gradient_clip_val)
    if trainer.max_steps == 0:
        raise ConfigurationError("trainer.max_steps=0 trains nothing: give a number of iterations, or -1 to train until it is stopped.")
    is_trial = getattr(trainer, "fast_dev_run", False)  # which sets both
    if trainer.max_epochs not in (None, -1) and not is_trial:
        raise ConfigurationError(
            f"trainer.max_epochs={trainer.max_epochs}: training counts iterations, not epochs. Set trainer.max_steps, leave max_epochs"
            " out (both -1 to train until it is stopped)."
        )
    if trainer.limit_train_batches != 1.0 and not is_trial:  # overfit_batches sets it, too
        raise ConfigurationError(
            f"trainer.limit_train_batches={trainer.limit_train_batches} would start the draws anew again and again: leave it out, and"
            " overfit_batches, too. Set trainer.max_steps for a shorter run."
        )
    if trainer.world_size > 1 and not isinstance(trainer.strategy, DDPStrategy):
        raise ConfigurationError(
            f"trainer.strategy={type(trainer.strategy).__name__} on {trainer.world_size} devices: a method reduces gradients and memory"
            " itself, over complete replicas. Use trainer=ddp."
        )
    if trainer.world_size > 1 and replaces_samplers(trainer):
        raise ConfigurationError(
            "trainer.use_distributed_sampler=true would repeat evaluation images to make the devices' shares equal: set it to false;"
            " the data modules share the images out themselves."
        )
