"""Segment images and videos with a trained network: `python -m pin_memory.predict checkpoint=RUN_OR_FILE input=IMAGES output=DIR`.

For every image, `save` says which files are written: `<image>_trainids.png` (mask, 8 bit), `<image>_color.png` (colours of the classes),
`<image>_overlay.jpg` (the colours over the image, with a legend), `<image>_confidence.png` (highest probability, 0..255) and
`<image>_logits.npz`. `<image>` is the path below the input folder without its suffix or, where two images of a folder differ in nothing
else, with it. A video becomes a video with the colours laid over it.
"""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, ListConfig

from pin_memory.cli.command import command
from pin_memory.utils.devices import choose_device
from pin_memory.utils.errors import ConfigurationError, DataError, OutputError

if TYPE_CHECKING:
    from pin_memory.inference import Predictor
    from pin_memory.prediction.images import Outcome
    from pin_memory.prediction.inputs import Inputs


@command("predict")
def main(cfg: DictConfig) -> None:
    """Segment the images of `cfg.input`."""
    from pin_memory.prediction.inputs import find_inputs, read_list

    # What can be wrong with the paths is told before the network is loaded, which takes seconds.
    output = Path(str(cfg.output)).expanduser()
    listed = read_list(sys.stdin) if cfg.input == "-" else [str(path) for path in cfg.input] if isinstance(cfg.input, ListConfig) else None
    inputs = find_inputs(str(cfg.input) if listed is None else listed, output)
    for setting in ("batch_size", "workers"):
        if not isinstance(cfg[setting], int) or cfg[setting] < 1:
            raise ConfigurationError(f"{setting}={cfg[setting]}: expected a whole number of at least 1.")
    outcome = _predict(cfg, inputs, prepare_output(output))
    print(_summary(outcome, output))
    if outcome.broken:
        raise DataError(
            f"{len(outcome.broken)} of {len(inputs.items)} files could not be read, the others are in {output}:\n"
            + "\n".join(f"  {line}" for line in outcome.broken)
        )


def prepare_output(output: str | Path) -> Path:
    """Make the output folder and try whether it can be written to.

    Args:
        output: The folder to write to.

    Raises:
        OutputError: If the folder cannot be made or written to.
    """
    output = Path(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise OutputError(f"output={output}: cannot write to this folder: {error.strerror or error}. Choose another one.") from error
    return output


def _predict(cfg: DictConfig, inputs: "Inputs", output: Path) -> "Outcome":
    """Load the network, look at what is there, segment the rest."""
    from dataclasses import replace

    from pin_memory.prediction.images import predict_items, results_there
    from pin_memory.prediction.outputs import Saving
    from pin_memory.prediction.record import open_record
    from pin_memory.prediction.segmenting import Segmenter

    save = [cfg.save] if isinstance(cfg.save, str) else cfg.save
    saving = Saving(None if save is None else tuple(save), str(cfg.ids), cfg.alpha)
    predictor, settings = _load(cfg)
    saving.check_classes(predictor.label_space)
    if predictor.statistics.policy == "batch" and cfg.batch_size > 1:
        raise ConfigurationError(
            f"batch_size={cfg.batch_size}: this run's batch norm normalises by the images that are predicted together (test_statistics="
            "batch), so a prediction would depend on its neighbours in the list. Say batch_size=1: each image by itself."
        )
    settings |= {"input": str(inputs.base.resolve()), "ids": saving.ids, "alpha": saving.alpha}
    record = open_record(output, settings, cfg.overwrite, results_there(inputs.items, output, saving))
    saving = replace(saving, since=record.stat().st_mtime_ns)
    confidence, logits = (saving.wants(kind, inputs.items) for kind in ("confidence", "logits"))
    return predict_items(Segmenter(predictor, confidence, logits), inputs.items, output, saving, cfg.batch_size, cfg.workers)


def _load(cfg: DictConfig) -> tuple["Predictor", dict[str, object]]:
    """The network, and what of it the results depend on."""
    from hydra.utils import instantiate

    from pin_memory.exporting.weights import find_weights, load_safetensors
    from pin_memory.inference.protocols import recorded_name
    from pin_memory.prediction.load import load_model
    from pin_memory.prediction.record import digest
    from pin_memory.runs.checkpoints import find_checkpoint

    given = Path(str(cfg.checkpoint)).expanduser()
    protocol = instantiate(cfg.protocol, _convert_="all") if cfg.get("protocol") else None
    weights = find_weights(given)
    path = weights or find_checkpoint(given)
    load = load_safetensors if weights else load_model
    predictor = load(path, device=choose_device(cfg.device), trust=list(cfg.trust), protocol=protocol)
    return predictor, {
        "checkpoint": str(path),
        "digest": digest(path),
        "protocol": recorded_name(predictor.protocol),
        "protocol_settings": predictor.protocol.settings,
        "statistics": str(predictor.statistics),
        "classes": list(predictor.label_space.names),
    }


def _summary(outcome: "Outcome", output: Path) -> str:
    """Say what was made and what was there already."""
    parts = []
    for kind, is_video in (("image", False), ("video", True)):
        count = sum(item.is_video == is_video for item in outcome.made)
        if count:
            parts.append(f"{count} {kind}{'s' if count > 1 else ''}")
    there = f"; {len(outcome.skipped)} were there already (overwrite=true makes them anew)" if outcome.skipped else ""
    return f"Segmented {' and '.join(parts) or 'nothing'} into {output}{there}"


if __name__ == "__main__":
    main()
