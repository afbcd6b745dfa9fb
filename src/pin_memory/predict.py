"""Segment images and videos with a trained network: `python -m pin_memory.predict checkpoint=RUN_OR_FILE input=IMAGES output=DIR`.

For every image, `save` says which files are written: `<image>_trainids.png` (mask, 8 bit), `<image>_color.png` (colours of the classes),
`<image>_overlay.jpg` (the colours over the image, with a legend), `<image>_confidence.png` (highest probability, 0..255) and
`<image>_logits.npz`. `<image>` is the path below the input folder without its suffix or, where two images of a folder differ in nothing
else, with it. A video becomes a video with the colours laid over it.
"""

from omegaconf import DictConfig

from pin_memory.cli.command import command


@command("predict")
def main(cfg: DictConfig) -> None:
    """Segment the images of `cfg.input`."""
    from pin_memory.prediction.run import predict  # imports torch, which `--help` does not need

    predict(cfg)


if __name__ == "__main__":
    main()
