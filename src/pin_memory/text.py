"""Make text prototypes of class names: `python -m pin_memory.text classes=[road,sky] output=FILE.safetensors`.

A text encoder of open_clip turns the names into vectors, which `text.path` of a training takes.
"""

from omegaconf import DictConfig

from pin_memory.cli.command import command


@command("text")
def main(cfg: DictConfig) -> None:
    """Write `cfg.output`."""
    from pin_memory.exporting.text import write_text  # imports torch, which `--help` does not need

    write_text(cfg)


if __name__ == "__main__":
    main()
