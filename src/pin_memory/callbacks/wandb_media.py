"""Pictures for the W&B dashboard: predictions with masks that can be switched on and off, and the memory's similarity over time."""

from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from PIL import Image

from pin_memory.callbacks.panels import evenly_spaced_batches
from pin_memory.utils.images import denormalize
from pin_memory.utils.labels import IGNORE, LabelSpace
from pin_memory.utils.pictures import heat_map, resize, size_within
from pin_memory.utils.similarity import mean_similarity, similarity
from pin_memory.utils.wandb_guard import GuardedRun, attempt

_MEMORY = "drawing the memory"


class WandbMedia(Callback):
    """Log media into the W&B run of the trainer; without a W&B logger, or with one that is disabled, do nothing.

    What cannot be drawn, saved or logged is reported once and left out.

    - `panels/<target>`: while testing, evenly spaced pictures of each target with the masks `ground truth` and `prediction`, whose
      classes can be switched on and off in W&B.
    - `memory/similarity`: after every validation in training and at its end, a heat map of the cosine similarity of the memory items;
      `memory/mean_similarity`, its mean over pairs of different classes. Absent where the network has no memory.

    Args:
        per_target: Pictures per target.
        max_side: Larger pictures and masks are shrunk to it, in pixels.
    """

    def __init__(self, per_target: int = 4, max_side: int = 1024) -> None:
        super().__init__()
        self.per_target, self.max_side = per_target, max_side
        self._pictures: dict[str, list[Any]] = {}
        self._memory_step = -1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the memory as it is at a validation in training."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            attempt(_MEMORY, self._log_memory, trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the memory of the last iteration."""
        attempt(_MEMORY, self._log_memory, trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the pictures of an earlier test."""
        self._pictures = {}

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the first image of the batch with its masks if it is one of the chosen."""
        chosen = evenly_spaced_batches(trainer.num_test_batches[dataloader_idx], self.per_target)
        if wandb_run(trainer) is None or batch_idx not in chosen:
            return
        picture = attempt("making a picture with masks", self._picture, trainer, batch | outputs)
        if picture is not None:
            target = trainer.datamodule.test_stages[dataloader_idx]  # type: ignore[attr-defined]
            self._pictures.setdefault(f"panels/{target}", []).append(picture)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the pictures, those of a target together."""
        run = wandb_run(trainer)
        for name, pictures in self._pictures.items() if run is not None else ():  # one that cannot be written takes no other with it
            run.log({name: pictures, "trainer/global_step": trainer.global_step})
        self._pictures = {}

    def _picture(self, trainer: Trainer, shown: dict[str, Any]) -> Any:
        """The first image of a batch with its masks."""
        masks = {"ground truth": shown["label"], "prediction": shown["prediction"]}
        return masked_picture(
            denormalize(shown["image"][0]), {name: mask[0].cpu().numpy() for name, mask in masks.items()},
            trainer.datamodule.outputs, str(shown["name"][0]), self.max_side,  # type: ignore[attr-defined]
        )  # fmt: skip

    def _log_memory(self, trainer: Trainer, module: LightningModule) -> None:
        """Log the heat map, once for an iteration."""
        run, step = wandb_run(trainer), trainer.global_step
        if run is None or self._memory_step == step or (drawn := draw_memory(trainer, module)) is None:
            return
        import wandb

        self._memory_step = step
        picture, mean, title = drawn
        if not np.isnan(mean):
            run.log({"memory/mean_similarity": mean, "trainer/global_step": step})
        run.log({"memory/similarity": wandb.Image(picture, caption=title), "trainer/global_step": step})


def draw_memory(trainer: Trainer, module: LightningModule) -> tuple[np.ndarray, float, str] | None:
    """The heat map (H, W, 3) of the memory's similarity, the mean over pairs of different classes, and a title; None without memory."""
    memory = getattr(getattr(module, "network", None), "memory", None)
    if memory is None or not memory.initialised:
        return None
    pairs = similarity(memory.items.detach().float().cpu().numpy())
    title = f"cosine similarity of the memory items, step {trainer.global_step}"
    return heat_map(pairs, trainer.datamodule.outputs.names, title), float(mean_similarity(pairs)), title  # type: ignore[attr-defined]


def wandb_run(trainer: Trainer) -> Any:
    """The W&B run of the trainer's loggers, or None."""
    logger = next((logger for logger in trainer.loggers if isinstance(logger, WandbLogger)), None)
    if logger is None or not trainer.is_global_zero or (run := attempt("the run", lambda: logger.experiment)) is None:
        return None
    return run if isinstance(run, GuardedRun) else GuardedRun(run)  # of a logger of the user's own


def masked_picture(rgb: np.ndarray, masks: dict[str, np.ndarray], space: LabelSpace, caption: str, max_side: int = 1024) -> Any:
    """A W&B image with segmentation masks.

    Args:
        rgb: Image (H', W', 3) uint8.
        masks: Train ids (H, W) by the mask's name; `IGNORE` is shown as a class of its own.
        space: Names of the classes.
        caption: Line below the image.
        max_side: Longest side of image and masks in pixels.
    """
    import wandb

    size = size_within(next(iter(masks.values())), max_side, max_side)
    labels = {**dict(enumerate(space.names)), IGNORE: "not evaluated"}
    shown = {name: {"mask_data": resize(mask, size), "class_labels": labels} for name, mask in masks.items()}
    picture = Image.fromarray(resize(rgb, size))
    return wandb.Image(picture, masks=shown, caption=caption, file_type="jpg")
