"""Judging a network on its target domains: scores, what they must beat, and the results file."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer, seed_everything
from omegaconf import DictConfig, OmegaConf

from pin_memory import assembly
from pin_memory.callbacks import PredictionPanels, TrainingProgress
from pin_memory.domains import DomainDataModule, MultiSourceDataModule
from pin_memory.domains.listing import evenly_spaced
from pin_memory.errors import ConfigurationError
from pin_memory.inference import PROTOCOL, TestStatistics, predict_whole
from pin_memory.methods import Method
from pin_memory.methods.batches import evaluation_mode
from pin_memory.metrics import DomainConfusion, LabelPrior
from pin_memory.networks import MemorySegmenter
from pin_memory.provenance import provenance
from pin_memory.results import mean_miou, results_table, target_result, write_results

Floors = dict[str, dict[str, float | None]]
"""mIoU by name of the floor and target."""
_FLOORS = ("untrained network", "most frequent class", "most frequent class at each place")


def judge(method: Method, data: MultiSourceDataModule, trainer: Trainer, choices: dict[str, str], **about: Any) -> dict[str, Any]:
    """Test `method` on every target.

    Args:
        method: With the weights to judge.
        data: Holds the targets.
        trainer: Runs the test loop, with its callbacks.
        choices: Options chosen of the configuration groups; names the network.
        about: What else the results record (seed, selection ...).

    Returns:
        The content of `results.json`.
    """
    trainer.test(method, datamodule=data, verbose=False)
    targets = {name: scored(confusion, data, name) for name, confusion in method.confusions.items()}
    return {
        "method": method.name,
        "network": choices.get("network", type(method.network).__name__),
        "sources": data.source_names,
        "protocol": PROTOCOL,
        "statistics": str(method.test_statistics),
        "stand_in": data.uses_stand_ins,
        "images_seen": int(method.images_seen),
        "targets": targets,
        "mean_miou": mean_miou(targets),
        "revision": (provenance()["git"] or {}).get("revision"),
        **about,
    }


def scored(confusion: DomainConfusion, data: MultiSourceDataModule, target: str) -> dict[str, Any]:
    """The scores of a target and what they depend on besides the network: classes, tree on disk, view, sizes of image and label."""
    domain = data.targets[target]
    dataset, view = domain.dataset("test"), domain.view
    image, label = (size if isinstance(size, str) else size * dataset.layout.scale for size in (view.image_scale, view.label_scale))
    return {
        **target_result(confusion.compute().cpu(), data.label_space.names, dataset.classes, data.score_subsets),
        "images": len(evenly_spaced(dataset.samples, domain.loading.max_test_images)),
        "classes": list(dataset.classes),
        "layout": dataset.layout.name,
        "view": view.name,
        "image_scale": image,
        "label_scale": label,
    }


def report(results: dict[str, Any], folder: Path, pictures: list[Path]) -> None:
    """Write `results.json` into `folder` and print the table and the paths of the pictures."""
    write_results(folder / "results.json", results)
    print(f"\n{results_table(results, results.get('floors'))}\n")
    print(f"Results   {folder / 'results.json'}")
    for path in pictures:
        print(f"Picture   {path}")


def evaluate(cfg: DictConfig) -> dict[str, Any]:
    """Rebuild the network and the targets of a run, and judge it.

    Args:
        cfg: The composed configuration.

    Returns:
        The content of `results.json`.

    Raises:
        ConfigurationError: No checkpoint, or a target that the run does not know.
        DataError: A target's data is missing.
    """
    assembly.quiet_lightning()
    path = assembly.find_checkpoint(cfg.checkpoint)
    method, chosen = assembly.load_method(path, list(cfg.trust))
    if cfg.test_statistics is not None:
        given = cfg.test_statistics
        method.test_statistics = TestStatistics(given) if isinstance(given, str) else TestStatistics(**given)
    seed_everything(chosen.cfg.seed, verbose=False)  # decides the untrained network of the floors
    if cfg.paths.data:
        OmegaConf.update(chosen.cfg, "paths.data", str(cfg.paths.data))
    data = assembly.build_data(chosen.cfg)
    if cfg.paths.data:
        data.stand_in = None  # draw into the run's own folder, never into the user's
    wanted = [cfg.targets] if isinstance(cfg.targets, str) else list(cfg.targets or data.target_names)
    if unknown := set(wanted) - set(data.target_names):
        raise ConfigurationError(f"targets={cfg.targets}: the run has no {', '.join(unknown)}, only {', '.join(data.target_names)}.")
    data.targets = {name: data.targets[name] for name in data.target_names if name in wanted}
    data.prepare_data()
    data.check(sources=cfg.floors)
    folder = Path(cfg.paths.run)
    panels = PredictionPanels(folder / "panels")
    callbacks: list[Callback] = [panels, TrainingProgress()]
    try:
        trainer = Trainer(accelerator=cfg.accelerator, devices=1, logger=False, callbacks=callbacks, default_root_dir=folder)
    except (ValueError, MisconfigurationException) as error:
        raise ConfigurationError(f"accelerator={cfg.accelerator}: {error}") from error
    untrained = assembly.build_method(chosen.cfg).network if cfg.floors else None
    floors = floor_scores(data, untrained, trainer.strategy.root_device) if untrained else None
    about = {
        "seed": chosen.cfg.seed,
        "selection": f"{path.name} (step {chosen.step})",
        "floors": floors,
        "checkpoint": str(path.resolve()),
        "source_validation": chosen.source_validation,
    }
    results = judge(method, data, trainer, chosen.choices, **about)
    report(results, folder, panels.paths)
    return results


@torch.inference_mode()
def floor_scores(
    data: MultiSourceDataModule, untrained: MemorySegmenter, device: torch.device | str = "cpu", labels_per_source: int = 100
) -> Floors:
    """MIoU on every target of predictors that learned nothing from the pictures.

    Args:
        data: The class frequencies are counted on its sources' training labels, so no floor looks at a target.
        untrained: A network as it was before training; moved to `device`.
        device: Where it runs.
        labels_per_source: Labels counted of each source, evenly spaced.
    """
    prior = LabelPrior(untrained.num_classes)
    for domain in data.sources.values():
        source = domain.dataset("train")
        for sample in evenly_spaced(source.samples, labels_per_source):
            prior.update(source.read_label(sample))
    floors: Floors = {name: {} for name in _FLOORS}
    untrained.to(device)
    with evaluation_mode(untrained):  # its modes come back: training starts from it
        for target, domain in data.targets.items():
            counts = _count_floors(domain, untrained, prior, device)
            for name, confusion in zip(_FLOORS, counts, strict=True):
                floors[name][target] = target_result(confusion.compute(), data.label_space.names, domain.dataset("test").classes)["miou"]
    return floors


def _count_floors(
    domain: DomainDataModule, untrained: MemorySegmenter, prior: LabelPrior, device: torch.device | str
) -> list[DomainConfusion]:
    """Confusion matrices of the floors on one target."""
    counts = [DomainConfusion(untrained.num_classes) for _ in _FLOORS]
    for batch in domain.test_dataloader():
        label = batch["label"]
        height, width = label.shape[-2:]
        layout = torch.from_numpy(prior.layout(height, width)).long().unsqueeze(0)
        guess = predict_whole(untrained, batch["image"].to(device), (height, width)).cpu()
        predictions = (guess, torch.full_like(label, prior.constant()), layout)
        for confusion, prediction in zip(counts, predictions, strict=True):
            confusion.update(prediction, label)
    return counts
