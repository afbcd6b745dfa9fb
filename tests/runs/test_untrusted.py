"""Files of strangers, through every command: no code in them is run, no size is believed, nothing is written where it does not belong."""

import importlib
import json
import os
import pickle
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from pin_memory.domains import Loading
from pin_memory.domains.loading.transforms import TrainTransform
from pin_memory.domains.readers.folder import FolderDomain
from pin_memory.domains.readers.label_maps import read_indices
from pin_memory.domains.stand_ins.writers import StandIns
from pin_memory.runs.build import build_data, build_untrained
from pin_memory.runs.checkpoints import load_method
from pin_memory.runs.trusted import is_trusted
from pin_memory.training.resume.command_line import with_recorded_settings
from pin_memory.utils.config import config_directory
from pin_memory.utils.decoding import PIXEL_LIMIT, read_rgb
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.safe_load import load_arrays, load_weights_only
from tests.helpers.tiny_run import TINY
from tests.reliability.mutations import png_claiming

SETTINGS = [setting for setting in TINY if not setting.startswith("data.stand_in")]


class Malicious:
    """Unpickling it creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


Run = Callable[..., str]


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """The file that the malicious ones would create."""
    return tmp_path / "PLANTED"


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], planted: Path) -> Run:
    """Run a command, and return what it ends with; the file is not created, and there is no traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")

    def run(name: str, *overrides: str) -> str:
        monkeypatch.setattr("sys.argv", [name, *overrides])
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(f"pin_memory.{name}").main()
        message = capsys.readouterr().err
        assert ended.value.code == 2, message
        assert "Traceback" not in message
        assert not planted.exists()
        return " ".join(message.split())

    return run


def test_the_malicious_file_is_one(planted: Path, tmp_path: Path) -> None:
    """Loaded as pickles are, it creates the file; without that, the tests below would show nothing."""
    torch.save({"state_dict": Malicious(planted)}, tmp_path / "last.ckpt")
    torch.load(tmp_path / "last.ckpt", weights_only=False)
    assert planted.exists()


def write_malicious(path: Path, form: str, planted: Path, run: Path) -> Path:
    """A checkpoint with code, as it may be handed on: in PyTorch's formats, as a bare pickle, and among a complete run's content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    code = {"state_dict": {"conv1.weight": Malicious(planted)}, "epoch": 1}
    if form == "pickle":
        path.write_bytes(pickle.dumps(code))
    elif form == "with weights":
        content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True, mmap=True)
        kept = {key: content[key] for key in ("pin_memory", "state_dict", "global_step", "epoch")}
        torch.save(kept | {"extra": Malicious(planted)}, path)
    else:
        torch.save(code, path, _use_new_zipfile_serialization=form == "torch")
    return path


@pytest.mark.parametrize("form", ["torch", "old torch", "pickle", "with weights"])
def test_code_in_any_format_is_refused(form: str, planted: Path, trained_run: Path, tmp_path: Path) -> None:
    path = write_malicious(tmp_path / "last.ckpt", form, planted, trained_run)
    with pytest.raises(ConfigurationError, match=r"last\.ckpt is refused.*code in a checkpoint"):
        load_weights_only(path)
    assert not planted.exists()


def commands(path: Path, data: Path) -> dict[str, list[str]]:
    """Every command line that reads a checkpoint."""
    train = ["train", "experiment=demo", *SETTINGS, "data.stand_in=null", f"paths.data={data}", "logger=csv"]
    return {
        "resume": [*train, f"resume={path}"],
        "resume a folder": [*train, f"resume={path.parents[1]}"],
        "pretrained": [*train, f"network.backbone.pretrained={path}"],
        "evaluate": ["evaluate", f"checkpoint={path}", "accelerator=cpu"],
        "evaluate several": ["evaluate", f"checkpoint=[{path},{path.parents[1]}/copy.ckpt]", "accelerator=cpu"],
        "predict": ["predict", f"checkpoint={path}", "input=in", "output=out"],
        "convert": ["convert", f"source={path}", "output=ours.ckpt"],
        "convert back": ["convert", f"source={path}", "output=theirs.pth", "to=official"],
        "export": ["export", f"checkpoint={path}", "format=safetensors", "output=x.safetensors"],
        "analyze": ["analyze", f"checkpoint={path}", "device=cpu"],
    }


@pytest.mark.parametrize("use", list(commands(Path("x/y/z"), Path())))
def test_a_checkpoint_with_code_is_refused(use: str, refused: Run, planted: Path, trained_run: Path, tmp_path: Path) -> None:
    malicious = write_malicious(tmp_path / "theirs" / "checkpoints" / "last.ckpt", "with weights", planted, trained_run)
    (tmp_path / "in").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "in" / "a.png")
    shutil.copy(malicious, malicious.parents[1] / "copy.ckpt")
    message = refused(*commands(malicious, trained_run.parents[1] / "stand_ins")[use])
    assert "last.ckpt" in message
    assert "code" in message
    assert not [
        path for path in tmp_path.rglob("*") if path.suffix in (".safetensors", ".pth") or path.name in ("results.json", "ours.ckpt")
    ]


@pytest.mark.parametrize("name", ["evaluate", "predict", "export", "analyze"])
def test_settings_that_name_a_function_are_refused(
    name: str, altered: Callable[..., Path], refused: Run, planted: Path, tmp_path: Path
) -> None:
    path = altered(lambda config: config["network"]["backbone"].update(_target_="os.system", _args_=[f"touch {planted}"]))
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    more = {
        "evaluate": ["accelerator=cpu"],
        "predict": ["input=a.png", "output=out"],
        "export": ["format=safetensors", "output=x.safetensors"],
    }
    message = refused(name, f"checkpoint={path}", *more.get(name, []))
    assert "name os.system" in message
    assert "trust=" in message


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.exec",
        "torch.load",
        "torch.optim.swa_utils.AveragedModel",
        "pin_memory.networks.torch.load",
        "pin_memory.nothing.at_all",
        "pin_memory.methods.torch.optim.SGD",
        "pin_memory.runs.build.build_data",
        "pin_memory.utils.files.LogFile",
        7,
        None,
    ],
)
def test_what_is_not_trusted(target: Any) -> None:
    assert not is_trusted(target)


@pytest.fixture
def altered(trained_run: Path, tmp_path: Path) -> Callable[..., Path]:
    """A real checkpoint whose settings are changed by a function of them."""

    def alter(change: Callable[[dict[str, Any]], Any], name: str = "last.ckpt") -> Path:
        content = torch.load(trained_run / "checkpoints" / "last.ckpt", weights_only=True)
        change(content["pin_memory"]["config"])
        torch.save({key: content[key] for key in ("pin_memory", "state_dict", "global_step", "epoch")}, tmp_path / name)
        return tmp_path / name

    return alter


@pytest.fixture
def evil(tmp_path: Path, planted: Path) -> dict[str, Any]:
    """Settings that unpickle a file when something is built from them."""
    torch.save(Malicious(planted), tmp_path / "e.pt")
    return {"_target_": "torch.load", "f": str(tmp_path / "e.pt"), "weights_only": False}


def test_the_evil_settings_are_evil(evil: dict[str, Any], planted: Path) -> None:
    """Or the tests below would show nothing."""
    instantiate(evil)
    assert planted.exists()


Change = Callable[[dict[str, Any], dict[str, Any]], Any]


def referred(reference: str, name: str = "evil", value: Any = None) -> Change:
    """The backbone is a reference; what it refers to lies in the settings of the trainer, which are not built."""
    return lambda c, e: (c["trainer"].update({name: e if value is None else value}), c["network"].update(backbone=reference))


def called(target: Any, **named: Any) -> Change:
    """The method is given something made by a call."""
    return lambda c, e: c["method"].update(extra=(e if not named else {}) | {"_target_": target} | named)


def by_name(target: str, part: str) -> Change:
    """The name of what is called is put together."""
    return lambda c, e: (c["trainer"].update(t=part), c["network"].update(backbone=e | {"_target_": target}))


HIDDEN: dict[str, tuple[Change, str]] = {
    "in the trainer": (referred("${trainer.evil}"), "damaged"),
    "in callbacks": (lambda c, e: (c.update(callbacks={"evil": e}), c["method"].update(x="${callbacks.evil}")), "name torch.load"),
    "the whole network": (lambda c, e: (c["loading"].update(evil=e), c.update(network="${loading.evil}")), "name torch.load"),
    "among the domains": (lambda c, e: (c["loading"].update(evil=e), c["data"]["sources"].update(x="${loading.evil}")), "name torch.load"),
    "a name by reference": (by_name("${trainer.t}", "torch.load"), "name ${trainer.t}"),
    "a name in parts": (by_name("torch.${trainer.t}", "load"), "name torch.${trainer.t}"),
    "a name of the environment": (called("${oc.env:NAMED,torch.load}"), "name ${oc.env:NAMED,torch.load}"),
    "positional, in lists, partial": (called("torch.nn.ModuleList", _args_=[[{"_target_": "torch.load", "_partial_": True}]]), "torch.nn"),
    "below what is trusted": (called("pin_memory.methods.DomainSplit", _args_=[[{"a": {"_target_": "torch.load"}}]]), "name torch.load"),
    "escaped": (referred(r"\${trainer.evil}"), "begins no reference"),
    "escaped twice": (referred(r"\\\${trainer.evil}"), "begins no reference"),
    "a reference in parts": (referred("${trainer.d}{oc.decode:'{_target_: torch.load}'}", "d", "$"), "begins no reference"),
    "a reference of the environment": (referred("${oc.env:DOLLAR}{oc.decode:'{_target_: torch.load}'}"), "where it is no reference"),
    "a quoted dollar": (referred("""${oc.env:NOWHERE,'$'}{oc.decode:'{_target_: torch.load}'}"""), "begins no reference"),
    "decoded": (referred('${oc.decode:"{_target_: torch.load}"}'), "call ${oc.decode:"),
    "created": (referred('${oc.create:"{_target_: torch.load}"}'), "call ${oc.create:"),
    "a resolver by reference": (referred('${${trainer.r}:"{a: 1}"}', "r", "oc.create"), "expected references"),
    "in the data folder": (lambda c, e: c["paths"].update(data="${oc.decode:x}"), "call ${oc.decode:"),
    "by the data folder": (referred("${oc.select:trainer.x${paths.data},${trainer.evil}}"), "damaged"),
    "hydra's own": (called("hydra.utils.get_method", path="os.system"), "name hydra.utils.get_method"),
    "no name": (called(None), "name None"),
    "a circle": (lambda c, e: c["network"].update(x={"y": "${network}"}), "damaged"),
    "a writer": (called("pin_memory.domains.stand_ins.writers.write_pair", root="drawn"), "write_pair"),
    "hidden by name": (called("pin_memory.methods.finite._Iteration", a=1), "_Iteration"),
    "not an optimiser": (called("torch.optim.swa_utils.AveragedModel", a=1), "name torch.optim.swa_utils.AveragedModel"),
}


@pytest.mark.parametrize("where", HIDDEN)
def test_settings_that_hide_what_they_call(
    where: str, altered: Callable[..., Path], evil: dict[str, Any], planted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are plain where they lie, and no text becomes a reference that was not there to be checked."""
    monkeypatch.setenv("DOLLAR", "$")
    change, message = HIDDEN[where]
    path = altered(lambda config: change(config, evil))
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        load_method(path)
    assert not planted.exists()


def test_settings_cannot_have_a_second_checkpoint_loaded(altered: Callable[..., Path], evil: dict[str, Any], planted: Path) -> None:
    """It would be loaded with a trust of the first one's choice."""
    inner = altered(lambda config: config["method"].update(extra=evil), "inner.ckpt")
    for target in ("pin_memory.prediction.load.load_model", "pin_memory.prediction.load.load_model"):
        load = {"_target_": target, "run_or_checkpoint": str(inner), "trust": ["torch"]}
        for trust in ([], ["pin_memory"]):
            with pytest.raises(ConfigurationError, match="load_model"):
                load_method(altered(lambda config, load=load: config["method"].update(extra=load)), trust)
    assert not planted.exists()


def test_references_of_good_settings_still_hold(altered: Callable[..., Path], trained_run: Path, tmp_path: Path) -> None:
    """To the trainer, to the environment, and to the data folder, which may be given anew."""

    def change(config: dict[str, Any]) -> None:
        config["network"]["memory"]["momentum"] = "${trainer.val_check_interval}"
        config["trainer"]["val_check_interval"] = 0.25
        config["data"]["sources"]["gtav"]["root"] = "${oc.env:PIN_MEMORY_NOWHERE,${paths.data}}/gtav"

    found = load_method(altered(change))
    assert found.method.network.memory is not None
    assert found.method.network.memory.momentum == 0.25
    OmegaConf.update(found.checkpoint.cfg, "paths.data", str(tmp_path / "anew"))
    data = build_data(found.checkpoint.cfg)
    assert data.stand_in is not None
    assert Path(data.stand_in.root) == tmp_path / "anew"
    assert Path(data.sources["gtav"].root) == tmp_path / "anew" / "gtav"


def test_everything_that_the_shipped_configuration_names_is_accepted() -> None:
    """As far as a checkpoint records it and something is built from it."""
    named: dict[str, Path] = {}
    for file in config_directory().rglob("*.yaml"):
        if file.relative_to(config_directory()).parts[0] not in ("hydra", "callbacks", "logger", "trainer"):
            named |= dict.fromkeys(re.findall(r"^\s*_target_: (\S+)", file.read_text(), re.MULTILINE), file)
    assert len(named) > 30
    assert not {target: file for target, file in named.items() if not is_trusted(target)}
    assert is_trusted("torch.optim.Adam")  # of the README


@pytest.mark.slow
def test_floors_of_a_checkpoint_fetch_nothing(altered: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *args, **named: pytest.fail("something was fetched"))
    path = altered(lambda config: config["network"]["backbone"].update(pretrained="imagenet"))
    chosen = load_method(path).checkpoint
    assert chosen.cfg.network.backbone.pretrained == "imagenet"  # as it is reported of the run
    build_untrained(chosen.cfg)
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr("sys.argv", ["evaluate", f"checkpoint={path}", "accelerator=cpu", "floors=true"])
    importlib.import_module("pin_memory.evaluate").main()


class TestRunFolders:
    """`resume=FOLDER` takes settings of the run over, but no code and no plugins."""

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
        """Makes a run folder, and returns the setting that resumes it."""
        monkeypatch.chdir(tmp_path)

        def make(*overrides: str, config: Path | None = None) -> str:
            (tmp_path / "theirs" / ".hydra").mkdir(parents=True, exist_ok=True)
            (tmp_path / "theirs" / "checkpoints").mkdir(exist_ok=True)
            (tmp_path / "theirs" / ".hydra" / "overrides.yaml").write_text(json.dumps(["experiment=demo", *overrides]))
            sources = [{"path": str(config), "provider": "command-line"}] if config else []
            hydra = {"hydra": {"runtime": {"cwd": str(tmp_path), "config_sources": sources}}}
            (tmp_path / "theirs" / ".hydra" / "hydra.yaml").write_text(json.dumps(hydra))
            return "resume=theirs"

        return make

    @pytest.mark.parametrize("dry", [[], ["dry_run=true"]])
    def test_code(self, dry: list[str], folder: Callable[..., str], evil: dict[str, Any], refused: Run, tmp_path: Path) -> None:
        settings = f"+data.sources.x={{_target_:torch.load,f:{evil['f']},weights_only:false}}"
        message = refused("train", folder(settings), *dry)
        assert "name torch.load" in message
        assert "trust=[torch]" in message
        assert not (tmp_path / "runs").exists()

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ("method._target_=my_method.WorstDomain", r"name my_method\.WorstDomain.*trust=\[my_method\].*setting again"),
            ("+callbacks.x={a:[{_target_:torch.load}]}", "name torch.load"),
            ("+callbacks.x={a:{b:[[{_target_:torch.load}]]}}", "name torch.load"),
            ("+x.y._target_=${z}", "name"),
            ("+x.y={_target_:pin_memory.prediction.load.load_model}", "name pin_memory.prediction.load.load_model"),
            ("+x.y='${oc.create:${a}}'", "oc.create"),
            ("+x.y='${hydra:runtime.cwd}'", "call .*hydra"),
            ("+x.y='$'", "begins no reference"),
            ("experiment=../../evil/x", "settings from elsewhere"),
            ("+domain@data.sources.x=/evil/x", "settings from elsewhere"),
        ],
    )
    def test_settings_that_are_asked_for_again(self, setting: str, message: str, folder: Callable[..., str]) -> None:
        """Given again, they hold."""
        resume = folder(setting)
        with pytest.raises(ConfigurationError, match=message):
            with_recorded_settings([resume])
        assert setting in with_recorded_settings([resume, setting])

    def test_trust(self, folder: Callable[..., str]) -> None:
        """It is the user's to give, not the folder's, and no setting of the run."""
        setting = "+x.y={_target_:torch.nn.Identity}"
        for own in (["trust=[torch]", setting], ["+trust=[torch]", setting]):
            with pytest.raises(ConfigurationError, match=r"name torch\.nn\.Identity"):
                with_recorded_settings([folder(*own)])
        completed = with_recorded_settings([folder(setting), "trust=[torch]"])
        assert setting in completed
        assert not any("trust" in argument for argument in completed)
        assert with_recorded_settings(["resume=x.ckpt", "trust=[torch]"]) == ["resume=x.ckpt"]

    def test_the_folder_and_plugins_are_left_out(self, folder: Callable[..., str], tmp_path: Path) -> None:
        theirs = [
            "hydra.run.dir=/evil", "hydra.searchpath=[file:///evil]", "hydra/launcher=evil", "+hydra.job.x=1", "hydra.output_subdir=/evil",
            "+domain@hydra.job=idd", "+domain@_global_.hydra.job=idd", "paths.run=/evil",
        ]  # fmt: skip
        completed = with_recorded_settings([folder(*theirs, "seed=3", "callbacks.panels.directory=${paths.run}/mine")])
        assert completed == [
            "experiment=demo", "seed=3", "callbacks.panels.directory=${paths.run}/mine", "resume=theirs",
            "hydra.run.dir='theirs'",
        ]  # fmt: skip

    def test_yaml_files(self, folder: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "theirs" / "conf").mkdir(parents=True)
        resume = folder(config=tmp_path / "theirs" / "conf")
        with pytest.raises(ConfigurationError, match="give --config-dir again"):
            with_recorded_settings([resume])
        given = ["--config-dir", str(tmp_path / "theirs" / "conf")]
        assert with_recorded_settings([*given, resume])[:2] == given
        assert with_recorded_settings([folder(config=config_directory())])[:2] == ["--config-dir", str(config_directory())]


@pytest.fixture
def exported(refused: Run, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights as safetensors with their settings."""
    monkeypatch.setattr("sys.argv", ["export", f"checkpoint={trained_run}", "format=safetensors", "output=net.safetensors"])
    importlib.import_module("pin_memory.export").main()
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    return tmp_path / "net.safetensors"


def test_safetensors_and_their_settings(exported: Path, refused: Run, planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = json.loads(exported.with_suffix(".json").read_text())
    predict = ["predict", f"checkpoint={exported}", "input=a.png", "output=out"]

    evil = settings | {"network": settings["network"] | {"memory": {"_target_": "os.system", "_args_": [f"touch {planted}"]}}}
    exported.with_suffix(".json").write_text(json.dumps(evil))
    assert "name os.system" in refused(*predict)

    weights = exported.read_bytes()
    torch.save(Malicious(planted), exported)  # a pickle by another name
    exported.with_suffix(".json").write_text(json.dumps(settings))
    assert "not a readable safetensors file" in refused(*predict)

    # Weights of a backbone are not fetched because settings say so.
    settings["network"]["backbone"]["pretrained"] = "imagenet"
    exported.with_suffix(".json").write_text(json.dumps(settings))
    exported.write_bytes(weights)
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *args, **named: pytest.fail("something was fetched"))
    monkeypatch.setattr("sys.argv", predict)
    importlib.import_module("pin_memory.predict").main()
    assert (exported.parent / "out" / "a_trainids.png").is_file()


def test_arrays_with_objects_are_refused(
    planted: Path, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """In a run folder: `report` leaves them out and says so; `analyze` cannot draw what they would show."""
    run = tmp_path / "run"
    shutil.copytree(trained_run, run, ignore=shutil.ignore_patterns("wandb"))
    for name, keys in (("memory_trace.npz", ("step", "items")), ("confusions.npz", ("bdd100k",))):
        np.savez(run / name, **{key: np.array([Malicious(planted)], object) for key in keys})  # type: ignore[arg-type]
        with pytest.raises(DataError, match="is refused: it holds Python objects"):
            load_arrays(run / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["report", f"run={run}"])
    importlib.import_module("pin_memory.report").main()
    monkeypatch.setattr("sys.argv", ["analyze", f"checkpoint={run}", "plots=[drift]", "device=cpu"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module("pin_memory.analyze").main()
    assert ended.value.code == 2
    assert "is refused" in " ".join(capsys.readouterr().err.split())
    assert not planted.exists()


def test_yaml_of_a_run_runs_nothing(planted: Path, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run, ignore=shutil.ignore_patterns("wandb", "checkpoints"))
    for file in (run / "config.yaml", run / ".hydra" / "config.yaml", run / ".hydra" / "overrides.yaml"):
        file.write_text(f"method: !!python/object/apply:os.system ['touch {planted}']\n")
    monkeypatch.chdir(tmp_path)
    for command in (["report", f"run={run}"], ["compare", f"runs={run}"]):
        monkeypatch.setattr("sys.argv", command)
        importlib.import_module(f"pin_memory.{command[0]}").main()
    assert not planted.exists()


class TestSizes:
    """What a file claims is looked at before memory is taken."""

    @pytest.mark.parametrize("read", [read_rgb, read_indices])
    def test_pixels(self, read: Callable[[Path], np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "bomb.png").write_bytes(png_claiming(60_000, 60_000, 8, 0))
        with pytest.raises(DataError, match=f"(?s)bomb.png.*too large a picture.*{PIXEL_LIMIT}"):
            read(tmp_path / "bomb.png")
        Image.new("L", (20, 10)).save(tmp_path / "small.png")
        monkeypatch.setenv(PIXEL_LIMIT, "199")
        with pytest.raises(DataError, match="20x10"):
            read(tmp_path / "small.png")
        monkeypatch.setenv(PIXEL_LIMIT, "200")
        assert read(tmp_path / "small.png").shape[:2] == (10, 20)
        monkeypatch.setenv(PIXEL_LIMIT, "many")
        with pytest.raises(ConfigurationError, match=f"{PIXEL_LIMIT}=many"):
            read(tmp_path / "small.png")

    def test_a_raised_limit_is_also_pillows(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
        Image.new("L", (20, 10)).save(tmp_path / "a.png")
        assert read_indices(tmp_path / "a.png").shape == (10, 20)

    @pytest.mark.parametrize("crop", [10**9, -1, 0, "abc", [3, 4, 5], True, 1.5, None])
    def test_crops(self, crop: Any) -> None:
        with pytest.raises(ConfigurationError, match="crop_size"):
            TrainTransform(crop)

    @pytest.mark.parametrize("setting", [{"batch_size": -1}, {"batch_size": 10**9}, {"seed": 2**64}, {"num_workers": "many"}])
    def test_numbers_of_loading(self, setting: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match=f"loading.{next(iter(setting))} must be "):
            Loading(**setting)

    @pytest.mark.parametrize("setting", [{"images_per_domain": 10**9}, {"width": 10**9}, {"width": -1}])
    def test_stand_ins(self, setting: dict[str, int], tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"must be (greater|less) than or equal to"):
            StandIns(tmp_path, **setting)


class TestPlaces:
    """Nothing is read or written outside the folders that it belongs to."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        for folder in ("own/images", "own/labels", "own/images/train", "own/labels/train", "secret/images", "secret/labels"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            for number in range(3):
                Image.new("L", (8, 8)).save(tmp_path / folder / f"{number}.png")
        return tmp_path / "own"

    def test_lists_name_what_is_below_the_root_alone(self, root: Path) -> None:
        outside = root.parent / "secret" / "images" / "only_there.png"
        Image.new("L", (8, 8)).save(outside)
        for line in (
            str(outside),
            "../secret/images/only_there.png",
            "../../../../etc/passwd",
            "images/../../secret/images/only_there.png",
        ):
            (root / "train.txt").write_text(f"0.png\n{line}\n")
            with pytest.raises(DataError, match="1 of the 2 names"):
                FolderDomain(root, "train", images="images/train", labels="labels/train", split_file=root / "train.txt")

    @pytest.mark.parametrize("folder", ["../secret", "/etc", "a/../../secret", "x\0y"])
    def test_patterns_and_splits_stay_below_the_root(self, root: Path, folder: str) -> None:
        with pytest.raises(ConfigurationError, match="below the root"):
            FolderDomain(root, "train", images=f"{folder}/images", labels=f"{folder}/labels")
        with pytest.raises(ConfigurationError, match="below the root"):
            FolderDomain(root, "train", images="images/{split}", labels="labels/{split}", splits={"train": folder})

    def test_links_may_lead_out(self, root: Path) -> None:
        """They are the user's own doing."""
        (root / "images" / "train" / "more").symlink_to(root.parent / "secret" / "images")
        (root / "labels" / "train" / "more").symlink_to(root.parent / "secret" / "labels")
        assert len(FolderDomain(root, "train", images="images/{split}", labels="labels/{split}").samples) == 6

    @pytest.mark.parametrize("name", ["evaluate", "analyze"])
    def test_a_checkpoint_does_not_choose_where_stand_ins_are_drawn(
        self, name: str, trained_run: Path, tmp_path: Path, refused: Run
    ) -> None:
        content = torch.load(trained_run / "checkpoints" / "last.ckpt", weights_only=True)
        content["pin_memory"]["config"]["data"]["stand_in"]["root"] = str(tmp_path / "elsewhere" / "drawn")
        torch.save(content, tmp_path / "last.ckpt")
        message = refused(name, "checkpoint=last.ckpt", *(["accelerator=cpu"] if name == "evaluate" else ["device=cpu"]))
        assert "does not choose where files are written" in message
        assert not (tmp_path / "elsewhere").exists()

    def test_a_target_named_like_a_path(self, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its pictures lie in the folder of the evaluation all the same."""
        content = torch.load(trained_run / "checkpoints" / "last.ckpt", weights_only=True)
        data = content["pin_memory"]["config"]["data"]
        name = "../../../escaped"
        data["targets"] = {name: next(iter(data["targets"].values()))}
        torch.save(content, tmp_path / "last.ckpt")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["evaluate", "checkpoint=last.ckpt", "accelerator=cpu"])
        before = set(tmp_path.rglob("*"))
        importlib.import_module("pin_memory.evaluate").main()
        made = [path for path in tmp_path.rglob("*") if path not in before and path.is_file()]
        assert [path for path in made if "escaped" in path.name]
        assert all(path.is_relative_to(tmp_path / "runs") for path in made)


class TestNetwork:
    """Addresses are not fetched."""

    @pytest.fixture
    def server(self) -> Iterator[tuple[int, list[bytes]]]:
        """A port that remembers who called."""
        calls: list[bytes] = []
        listener = socket.create_server(("127.0.0.1", 0))

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    calls.append(connection.recv(100))

        threading.Thread(target=answer, daemon=True).start()
        yield listener.getsockname()[1], calls
        listener.close()

    def test_inputs_of_predict(self, server: tuple[int, list[bytes]], trained_run: Path, tmp_path: Path, refused: Run) -> None:
        port, calls = server
        address = f"http://127.0.0.1:{port}/a.png"
        assert "no such file" in refused("predict", f"checkpoint={trained_run}", f'input="{address}"', "output=out")
        (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:{port}/x.ts\n#EXT-X-ENDLIST\n")
        (tmp_path / "concat.mp4").write_text(f"ffconcat version 1.0\nfile http://127.0.0.1:{port}/x.mp4\n")
        (tmp_path / "drawing.png").write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:{port}/x.png"/></svg>'
        )
        for name in ("list.mp4", "concat.mp4", "drawing.png"):
            assert name in refused("predict", f"checkpoint={trained_run}", f"input={name}", "output=out", "device=cpu")
        assert "expected a run folder" in refused("predict", f'checkpoint="{address}"', "input=list.mp4", "output=out")
        assert not calls
