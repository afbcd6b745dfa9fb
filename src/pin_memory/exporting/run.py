"""What `export` does: check the settings, load, write, compare, tell."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from pin_memory.exporting.agreement import Size, check_sizes
from pin_memory.exporting.formats import write_onnx, write_torch_export
from pin_memory.exporting.graph import INPUT, OUTPUT, check_exportable
from pin_memory.exporting.hub import write_hub
from pin_memory.exporting.judged import find_results, measured_by
from pin_memory.exporting.settings import Source, about, read_source
from pin_memory.exporting.weights import SUFFIX, write_safetensors
from pin_memory.inference import BatchNormStatistics
from pin_memory.utils.errors import ConfigurationError

SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2", "safetensors": SUFFIX, "hub": ""}
"""Formats, and how their files are named; hub is a folder."""


def export(cfg: DictConfig) -> Path:
    """Write the checkpoint of the settings in another format.

    Args:
        cfg: The composed configuration.

    Returns:
        The file or folder.

    Raises:
        ConfigurationError: Settings that do not fit, no such checkpoint, a missing package, or a network that cannot be exported.
        OutputError: The file cannot be written, or does not compute what the network computes.
    """
    output = _output(cfg)
    source = read_source(Path(str(cfg.checkpoint)).expanduser(), list(cfg.trust))
    given = cfg.test_statistics
    statistics = source.method.test_statistics if given is None else BatchNormStatistics.from_setting(given)
    settings = about(source, statistics)
    if cfg.format in ("onnx", "torch_export"):
        check_exportable(source.method.network, statistics)
        sizes = check_sizes(OmegaConf.to_container(cfg.sizes), source.method.network)  # type: ignore[arg-type]
        network = source.method.network
        if cfg.format == "onnx":
            found = write_onnx(output, network, settings, cfg.normalise, cfg.opset, sizes, cfg.tolerance)
        else:
            found = write_torch_export(output, network, settings, cfg.normalise, sizes, cfg.tolerance)
        _tell_graph(output, cfg, found, source, bool(settings["stand_in"]))
    elif cfg.format == "safetensors":
        beside = write_safetensors(output, source.method.network, settings)
        print(f"Wrote {output} and its settings {beside}\nLoad them with pin_memory.exporting.load_safetensors({str(output)!r})")
    else:
        _write_hub(cfg, output, source, settings, statistics)
    return output


def _write_hub(cfg: DictConfig, output: Path, source: Source, settings: dict[str, object], statistics: BatchNormStatistics) -> None:
    """Write the folder for a hub, and say how it gets there."""
    given = OmegaConf.to_container(cfg.results) if OmegaConf.is_list(cfg.results) else cfg.results
    found = find_results(source.path, given)  # type: ignore[arg-type]
    results = measured_by(statistics, found, given)  # type: ignore[arg-type]
    name = cfg.name or f"{source.checkpoint.cfg.get('name') or settings['method']}-{settings['network_name']}"
    settings["stand_in"] = settings["stand_in"] or any(result.get("stand_in") for result in found)
    files = write_hub(output, source, settings, results, str(name), cfg.licence)
    print(f"Wrote {', '.join(file.name for file in files)} to {output}")
    if found and not results:
        print(
            f"The run was judged with test_statistics={found[0].get('statistics')}, this export normalises by {statistics}: the model card"
            " shows no scores. Evaluate with the export's test_statistics, and name the folder with results=FOLDER."
        )
    elif not results:
        print("No results of this checkpoint are at hand; the model card says so. Give some with results=FOLDER.")
    if settings["stand_in"]:
        print("STAND-IN data: the model card says that the weights are of no use on real pictures.")
    print(f"Nothing was sent anywhere. To upload it: hf upload USER/{name} {output}")


def _output(cfg: DictConfig) -> Path:
    """The file or folder to write.

    Raises:
        ConfigurationError: There is no such format, or the name does not fit it.
    """
    if cfg.format not in SUFFIXES:
        raise ConfigurationError(f"format={cfg.format}: expected one of {', '.join(SUFFIXES)}.")
    output = Path(str(cfg.output)).expanduser()
    suffix = SUFFIXES[cfg.format]
    if suffix and output.suffix != suffix:
        raise ConfigurationError(f"output={output}: format={cfg.format} is written to a file that ends in {suffix}.")
    if suffix and output.is_dir():
        raise ConfigurationError(f"output={output} is a folder; expected the name of a file.")
    return output


def _tell_graph(output: Path, cfg: DictConfig, found: dict[Size, float], source: Source, stand_in: bool) -> None:
    """Say what was written, what it takes and gives, and how well it agrees."""
    values = "uint8 RGB in 0..255" if cfg.normalise else "float32 RGB, divided by 255, normalised by ImageNet's mean and deviation"
    stride = source.method.network.backbone.output_stride
    print(f"Wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")
    print(f"Input     {INPUT} (batch, 3, height, width), {values}; height and width above {stride}")
    print(f"Output    {OUTPUT} (batch, {source.method.network.num_classes}, height, width) float32; arg-max over axis 1: train ids")
    for (count, height, width), difference in found.items():
        print(f"Compared  {count} x {height} x {width}: largest difference of the logits {difference:.1e}")
    print(f"Largest difference to the network: {max(found.values()):.1e} (allowed {cfg.tolerance:g})")
    if stand_in:
        print("STAND-IN data: these weights are of no use on real pictures.")
