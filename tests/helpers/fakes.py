"""A network of four weights and domains of a few pixels, to run callbacks in a real trainer."""

from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from pin_memory.callbacks import AtomicCheckpointIO
from pin_memory.utils.labels import CITYSCAPES, IGNORE, LabelSpace


class TinyMethod(LightningModule):
    """Manual optimisation, one step per iteration, named losses, a validation score that is given beforehand."""

    def __init__(self, scores: tuple[float, ...] = (0.5,)) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.scores = list(scores)
        self.automatic_optimization = False

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        """One step of gradient descent."""
        optimizer = self.optimizers()
        loss = self.layer(batch).square().mean()
        optimizer.zero_grad()  # type: ignore[union-attr]
        self.manual_backward(loss)
        optimizer.step()  # type: ignore[union-attr]
        self.log_dict({"loss/inner": loss, "loss/outer": 2 * loss}, prog_bar=True)

    def validation_step(self, batch: torch.Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Nothing to see."""

    def on_validation_epoch_end(self) -> None:
        """Log the next score."""
        score = self.scores.pop(0) if len(self.scores) > 1 else self.scores[0]
        self.log("val/miou", score, prog_bar=True)

    def test_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, torch.Tensor]:
        """Predict road everywhere."""
        return {"prediction": torch.zeros_like(batch["label"])}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain gradient descent."""
        return torch.optim.SGD(self.parameters(), 0.1)


class TinyDomains(LightningDataModule):
    """Two sources of vectors and two targets of pictures, named as the real data module names them."""

    source_names = ("gtav", "synthia")
    validation_names = ("gtav", "synthia")
    target_names = ("cityscapes", "idd")
    test_stages = target_names
    outputs = CITYSCAPES

    def space_of(self, stage: str) -> LabelSpace:
        """The same of all."""
        return self.outputs

    def train_dataloader(self) -> DataLoader:
        """More vectors than there are steps, one per batch."""
        return DataLoader(torch.ones(1000, 2))  # type: ignore[arg-type]

    def val_dataloader(self) -> CombinedLoader:
        """Two vectors per source."""
        return CombinedLoader({name: DataLoader(torch.ones(2, 2)) for name in self.validation_names}, "sequential")  # type: ignore[arg-type]

    def test_dataloader(self) -> CombinedLoader:
        """Pictures of another size per target: eight and two of them."""
        sets = {name: [picture(f"{name}/{index}") for index in range(count)] for name, count in (("cityscapes", 8), ("idd", 2))}
        return CombinedLoader({name: DataLoader(pictures) for name, pictures in sets.items()}, "sequential")  # type: ignore[arg-type]


def picture(name: str) -> dict[str, Any]:
    """A grey picture whose upper half is sky and whose last row is ignored."""
    label = torch.zeros(24, 40, dtype=torch.long)
    label[:12] = 10
    label[-1] = IGNORE
    return {"image": torch.zeros(3, 24, 40), "label": label, "name": name}


def configured(folder: Path) -> dict[str, Any]:
    """The callbacks of `conf/callbacks/default.yaml` for a run in `folder`."""
    callbacks = OmegaConf.load(Path(__file__).parents[2] / "conf" / "callbacks" / "default.yaml")
    cfg = OmegaConf.create({"seed": 304, "paths": {"run": str(folder)}, "callbacks": callbacks})
    return dict(instantiate(cfg).callbacks)


def tiny_trainer(folder: Path, callbacks: list[Any], **options: Any) -> Trainer:
    """A trainer of 20 steps, validated every 6 steps."""
    settings = {
        "max_steps": 20, "max_epochs": -1, "val_check_interval": 6, "check_val_every_n_epoch": None, "num_sanity_val_steps": 1,
        "logger": False, "plugins": [AtomicCheckpointIO()],
    }  # fmt: skip
    return Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        callbacks=callbacks,
        enable_model_summary=False,
        **{**settings, **options},
    )
