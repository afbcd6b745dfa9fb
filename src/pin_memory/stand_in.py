"""Draw stand-ins for the data sets: `python -m pin_memory.stand_in root=DIR images_per_domain=40`.

They are procedural street scenes with all 19 classes in six looks, each in the folder layout and label encoding of one data set, so
that every command runs without a download. A score on them says nothing about a score on the real data.
"""

from omegaconf import DictConfig

from pin_memory.cli.command import command


@command("stand_in")
def main(cfg: DictConfig) -> None:
    """Draw the stand-ins below `cfg.root`, and a contact sheet if one is asked for."""
    from pin_memory.domains.stand_ins.contact_sheet import draw  # imports OpenCV, which `--help` does not need

    draw(cfg)


if __name__ == "__main__":
    main()
