"""A run of `export`: check the settings, load, write, compare, and print what was made."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pin_memory.exporting.adapter import write_adapter
from pin_memory.exporting.formats import Comparison, write_onnx, write_torch_export
from pin_memory.exporting.graph import INPUT, OUTPUT, check_exportable
from pin_memory.exporting.hub import model_card, results_of_source, with_statistics, write_hub
from pin_memory.exporting.weights import SUFFIX, ExportSettings, Source, write_safetensors
from pin_memory.inference import BatchNormStatistics
from pin_memory.runs.support import needs_support
from pin_memory.utils.choices import one_of
from pin_memory.utils.errors import ConfigurationError, first_names

SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2", "safetensors": SUFFIX, "hub": "", "adapter": ""}
"""Formats, and how their files are named; hub and adapter are folders."""


def export(cfg: DictConfig) -> None:
    """Write the checkpoint of the settings in another format."""
    output = _output(cfg)
    if cfg.format == "adapter":
        layers = write_adapter(Path(str(cfg.checkpoint)).expanduser(), output, list(cfg.trust), cfg.pretrained)
        print(f"Wrote the updates of {len(layers)} layers ({first_names(layers)}) to {output}, in peft's format")
        return
    source = Source.read(Path(str(cfg.checkpoint)).expanduser(), list(cfg.trust), cfg.pretrained)
    given = cfg.test_statistics
    statistics = source.method.test_statistics if given is None else BatchNormStatistics.from_setting(given)
    if needs_support(source.method, cfg.support):
        source = source.with_support(str(cfg.support), statistics)
    settings = ExportSettings.of(source, statistics)
    if cfg.format == "hub":
        _write_hub(cfg, output, source, settings)
    elif cfg.format == "safetensors":
        settings_file = write_safetensors(output, source.method.network, settings)
        print(f"Wrote {output} and its settings {settings_file}\nLoad them with pin_memory.exporting.load_safetensors({str(output)!r})")
    else:
        _write_graph(cfg, output, source, settings)


def _write_graph(cfg: DictConfig, output: Path, source: Source, settings: ExportSettings) -> None:
    """Write an ONNX file or a torch.export archive, and print how well it agrees with the network."""
    network = source.method.network
    check_exportable(network, settings.statistics)
    comparison, content = Comparison.of(network, _as_list(cfg.sizes), cfg.tolerance), settings.model_dump(mode="json")
    if cfg.format == "onnx":
        found = write_onnx(output, network, content, cfg.normalise, cfg.opset, comparison)
    else:
        found = write_torch_export(output, network, content, cfg.normalise, comparison)
    values = "uint8 RGB in 0..255" if cfg.normalise else "float32 RGB, divided by 255, normalised by ImageNet's mean and deviation"
    print(f"Wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")
    print(f"Input     {INPUT} (batch, 3, height, width), {values}; height and width above {network.backbone.output_stride}")
    print(f"Output    {OUTPUT} (batch, {network.num_classes}, height, width) float32; arg-max over axis 1: train ids")
    for (count, height, width), difference in found.items():
        print(f"Compared  {count} x {height} x {width}: largest difference of the logits {difference:.1e}")
    print(f"Largest difference to the network: {max(found.values()):.1e} (allowed {cfg.tolerance:g})")
    if settings.stand_in:
        print("STAND-IN data: these weights are of no use on real images.")


def _write_hub(cfg: DictConfig, output: Path, source: Source, settings: ExportSettings) -> None:
    """Write the folder for a hub, and print what its card shows and how it gets there."""
    given = _as_list(cfg.results)
    found = results_of_source(source, given)
    results = with_statistics(found, settings.statistics, given)
    name = str(cfg.name or f"{source.checkpoint.cfg.get('name') or settings.method}-{settings.network_name}")
    settings.stand_in = settings.stand_in or any(result.stand_in for result in found)
    files = write_hub(output, source, settings, model_card(source, settings, results, name, cfg.licence))
    print(f"Wrote {', '.join(file.name for file in files)} to {output}")
    if found and not results:
        print(
            f"The run was evaluated with test_statistics={found[0].statistics}, this export normalises by {settings.statistics}: the model"
            " card shows no scores. Evaluate with the export's test_statistics, and name the folder with results=FOLDER."
        )
    elif not results:
        print("No results of this checkpoint are at hand; the model card says so. Give some with results=FOLDER.")
    if settings.stand_in:
        print("STAND-IN data: the model card says that the weights are of no use on real images.")
    print(f"Nothing was sent anywhere. To upload it: hf upload USER/{name} {output}")


def _output(cfg: DictConfig) -> Path:
    """The file or folder to write, named as the format demands."""
    one_of("format", cfg.format, SUFFIXES)
    output = Path(str(cfg.output)).expanduser()
    suffix = SUFFIXES[cfg.format]
    if suffix and output.suffix != suffix:
        raise ConfigurationError(f"output={output}: format={cfg.format} is written to a file that ends in {suffix}.")
    if suffix and output.is_dir():
        raise ConfigurationError(f"output={output} is a folder; expected the name of a file.")
    return output


def _as_list(setting: Any) -> Any:
    return OmegaConf.to_container(setting) if OmegaConf.is_list(setting) else setting
