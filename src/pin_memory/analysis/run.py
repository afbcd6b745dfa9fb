"""The command `analyze`: which plots a checkpoint can have, and their figures and numbers into a folder."""

import importlib.util
import logging
import math
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig

from pin_memory.analysis.context import AnalysisContext, unavailable_reason
from pin_memory.analysis.plots import PLOTS
from pin_memory.analysis.style import FORMATS
from pin_memory.analysis.subject import load_subject
from pin_memory.evaluation.compared_runs import read_run
from pin_memory.runs import build
from pin_memory.runs.results import write_json
from pin_memory.utils.choices import chosen
from pin_memory.utils.config import plain
from pin_memory.utils.devices import choose_device
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.installation import install_hint


def analyze(cfg: DictConfig) -> dict[str, Any]:
    """The command `analyze`: draw the plots of a checkpoint, and write their numbers to `analysis.json`."""
    build.quiet_lightning()
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it reports every letter that a PDF holds
    requested, formats = chosen("plots", cfg.plots, PLOTS), chosen("formats", cfg.formats, FORMATS)
    _check_settings(cfg, formats)
    baseline = None if cfg.baseline is None else read_run(str(cfg.baseline), "baseline")  # checked before the network is loaded
    domains = list(cfg.domains) if isinstance(cfg.domains, ListConfig) else cfg.domains
    device = choose_device(str(cfg.device))
    subject = load_subject(
        str(cfg.checkpoint), domains, cfg.images, cfg.paths.data, device, list(cfg.trust), str(cfg.paths.output), plain(cfg), cfg.pretrained
    )
    torch.manual_seed(cfg.seed)  # a memory that samples its read weights in evaluation, too
    context = AnalysisContext(subject, Path(cfg.paths.run), baseline, formats or ["png", "pdf"], float(cfg.perplexity), cfg.seed)
    reasons = {name: unavailable_reason(name, context) for name in (PLOTS if requested is None else requested)}
    skipped = {name: reason for name, reason in reasons.items() if reason is not None}
    if requested is not None and skipped:
        raise ConfigurationError("; ".join(f"plots: {name} cannot be drawn: {reason}" for name, reason in skipped.items()) + ".")
    numbers = {name: PLOTS[name](context) for name in reasons if name not in skipped}
    content = _about(context) | {"plots": numbers, "skipped": skipped, "figures": context.figures}
    write_json(context.folder / "analysis.json", content)
    for name, reason in skipped.items():
        print(f"Left out  {name}: {reason}")
    print(f"Numbers   {context.folder / 'analysis.json'}")
    return content


def _check_settings(cfg: DictConfig, formats: list[str] | None) -> None:
    """Refuse nonsense before the network is loaded."""
    if formats == []:
        raise ConfigurationError(f"formats=[]: expected one at least of {', '.join(FORMATS)}.")
    if not isinstance(cfg.seed, int) or cfg.seed < 0:
        raise ConfigurationError(f"seed={cfg.seed}: expected an integer of at least 0.")
    if not isinstance(cfg.perplexity, int | float) or not 1 <= cfg.perplexity < math.inf:
        raise ConfigurationError(f"perplexity={cfg.perplexity}: expected a number of at least 1.")
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigurationError(f"Figures need matplotlib: {install_hint('analysis')}.")


def _about(context: AnalysisContext) -> dict[str, Any]:
    """What was analysed."""
    own = context.subject
    return {
        "checkpoint": str(own.checkpoint.resolve()),
        "step": own.step,
        "method": own.method,
        "stand_in": own.stand_in,
        "protocol": str(own.protocol),
        "statistics": str(own.statistics),
        "classes": list(own.label_space.names),
        "sources": {name: len(found.dataset) for name, found in own.sources.items()},  # type: ignore[arg-type]
        "targets": {name: len(found.dataset) for name, found in own.targets.items()},  # type: ignore[arg-type]
        "added": list(own.added),
        "seed": context.seed,
    }
