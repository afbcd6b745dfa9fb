"""Convert checkpoints of the method's authors: `python -m pin_memory.convert source=FILE.pth output=FILE.ckpt network=NAME`.

The result is a checkpoint that `evaluate` and `predict` take. `to=official` goes back: the authors' format from a checkpoint of ours.
"""

from pathlib import Path

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from pin_memory.cli.command import command
from pin_memory.utils.errors import ConfigurationError

FORMATS = ("ours", "official")


@command("convert")
def main(cfg: DictConfig) -> None:
    """Write `cfg.output` from `cfg.source`."""
    source, output = Path(str(cfg.source)).expanduser(), Path(str(cfg.output)).expanduser()
    if cfg.to not in FORMATS:
        raise ConfigurationError(f"to={cfg.to}: expected one of {', '.join(FORMATS)}.")
    if not source.exists():
        raise ConfigurationError(f"source={source}: no such file (looked for {source.absolute()}).")

    from pin_memory.exporting import convert  # imports torch, which `--help` does not need

    if cfg.to == "official":
        convert.write_official(source, output)
        return
    released = convert.read_source(source)
    overrides = list(HydraConfig.get().overrides.task)
    if not released.has_memory and not any(override.startswith("method=") for override in overrides):
        overrides.append("method=erm")
    composed = compose("convert", overrides, return_hydra_config=True)
    choices = {key: value for key, value in composed.hydra.runtime.choices.items() if value and not key.startswith("hydra")}
    convert.write_ours(released, source, output, composed, choices)


if __name__ == "__main__":
    main()
