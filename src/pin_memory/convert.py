"""Convert checkpoints of the method's authors: `python -m pin_memory.convert source=FILE.pth output=FILE.ckpt network=NAME`.

The result is a checkpoint that `evaluate` and `predict` take. `to=official` goes back: the authors' format from a checkpoint of ours.
"""

from omegaconf import DictConfig

from pin_memory.cli.command import command


@command("convert")
def main(cfg: DictConfig) -> None:
    """Write `cfg.output` from `cfg.source`."""
    from pin_memory.exporting.convert import convert  # imports torch, which `--help` does not need

    convert(cfg)


if __name__ == "__main__":
    main()
