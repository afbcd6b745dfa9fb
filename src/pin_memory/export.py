"""Export a trained network as ONNX, torch.export or safetensors, or as a folder for a model hub."""

from omegaconf import DictConfig

from pin_memory.cli.command import command


@command("export")
def main(cfg: DictConfig) -> None:
    """Write `cfg.output` from `cfg.checkpoint`."""
    from pin_memory.exporting.run import export  # imports torch, which `--help` does not need

    export(cfg)


if __name__ == "__main__":
    main()
