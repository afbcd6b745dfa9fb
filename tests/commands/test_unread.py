"""A key that nothing reads ends every command with one message that names it, before anything is done."""

import importlib
import re
from pathlib import Path

import pytest
import yaml

from pin_memory.cli import COMMANDS
from pin_memory.domains import FolderDataModule
from pin_memory.training.sweeps import read_sweep
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.in_process import run_in_process

NEEDED = {
    "train": ["experiment=demo"],
    "evaluate": ["checkpoint=none"],
    "compare": ["runs=none"],
    "predict": ["checkpoint=none", "input=none", "output=out"],
    "analyze": ["checkpoint=none"],
    "report": ["run=none"],
    "dashboard": ["entity=me"],
    "export": ["checkpoint=none", "format=onnx", "output=out.onnx"],
    "check": ["experiment=demo"],
    "convert": ["source=none", "output=out"],
    "text": ["output=out.safetensors"],
    "stand_in": ["root=out"],
}
CASES = [
    ("train", "trainr.max_steps=3", "trainr", "trainer"),  # misspelt at the top
    ("train", "trainer.max_step=3", "trainer.max_step", "trainer.max_steps"),  # misspelt below a class
    ("train", "+trainer.max_step=3", "trainer.max_step", "trainer.max_steps"),
    ("train", "+initialisation.pases=3", "initialisation.pases", "initialisation.passes"),  # below no class
    ("train", "+max_steps=3", "max_steps", "trainer.max_steps"),  # at another place
    ("train", "+split.metatest=[gtav]", "split.metatest", "split.meta_test"),  # of what is read by reference
    ("train", "+data.targets.cityscapes.vieww=half", "data.targets.cityscapes.vieww", "data.targets.cityscapes.view"),
    ("train", "+data.sources.gtav.splitfile=x", "data.sources.gtav.splitfile", "data.sources.gtav.split_file"),
    ("train", "+callbacks.panel.per_target=2", "callbacks.panel", "callbacks.panels"),  # no callback: no class
    ("train", "+hydra.sweeps.dir=x", "hydra.sweeps", "hydra.sweep"),
    ("evaluate", "+optimizer=sgd", "optimizer", "test_statistics"),  # a group that does not belong: the settings are listed
    ("train", "experment=demo", "experment", "experiment"),  # a group
    ("evaluate", "protocl=whole", "protocl", "protocol"),
    ("evaluate", "+domain@data.sources.new=folder", "data.sources", "data"),
    ("evaluate", "data.targets.new.root=x", "data.targets.new", "+domain@data.targets.new=folder"),  # settings of no domain
    ("train", "data.targets.new.root=x", "data.targets.new", "+domain@data.targets.new=folder"),
    ("analyze", "+protocol=whole", "protocol", "plots"),
    ("predict", "+domain@data.targets.new=folder", "data", "input"),
    ("compare", "+overseeds=false", "overseeds", "over_seeds"),
    ("report", "outpt=x", "outpt", "output"),
    ("export", "+opst=3", "opst", "opset"),
    ("check", "+sampel=3", "sampel", "sample"),
    ("convert", "+t=official", "t", "to"),
    ("text", "+prompt=x", "prompt", "prompts"),
    ("stand_in", "+image_per_domain=3", "image_per_domain", "images_per_domain"),
]


REPLACED = [
    ("train", "network.backbone=5", "network.backbone.depth"),
    ("train", "network.memory=true", "network.memory.channels"),
    ("train", "data.stand_in=5", "data.stand_in.root"),  # which the experiment has
    ("train", "data.sources.gtav=gtav", "data.sources.gtav.loading"),
    ("train", "callbacks.best=1.5", "callbacks.best.directory"),
    ("train", "network=5", "deeplab_v3plus_resnet50"),
    ("train", "protocol=true", "sliding_768"),
    ("check", "data.sources.gtav=5", "data.sources.gtav.loading"),
]


@pytest.mark.parametrize(("name", "override", "advice"), REPLACED)
def test_a_value_in_the_place_of_a_group_is_refused(
    name: str, override: str, advice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = importlib.import_module(f"pin_memory.{name}").main
    code, _, errors = run_in_process(main, [*NEEDED[name], override], tmp_path, capsys)
    assert (code, errors.count("\n")) == (2, 1), errors
    assert errors.startswith(f"Error: {override.replace('=true', '=True') if 'memory' in override else override}: expected ")
    assert advice in errors


@pytest.mark.parametrize(("name", "override", "key", "near"), [*CASES, *((name, "+nonsense=1", "nonsense", "") for name in COMMANDS)])
def test_a_key_that_nothing_reads_is_refused(
    name: str, override: str, key: str, near: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = importlib.import_module(f"pin_memory.{name}").main
    code, output, errors = run_in_process(main, [*NEEDED[name], override], tmp_path, capsys)
    assert code == 2, output + errors
    assert errors.startswith(f"Error: There is no setting {key}; nothing would read it.")
    assert near in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "out").exists()


YAML = """# @package _global_
defaults:
  - demo
  - _self_
rate: 0.01
site: {name: x, spare: 1}
optimizer: {lr: "${rate}"}
logger: {csv: {path: "runs/${site.name}.csv"}}
"""


@pytest.mark.parametrize("name", ["train", "check"])
def test_a_yaml_of_ones_own_may_hold_variables_but_no_dead_keys(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`rate` and `site.name` are read by other settings; `site.spare`, and a misspelt group, by nothing."""
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "own.yaml").write_text(YAML + "traner: {max_steps: 3}\n")
    main = importlib.import_module(f"pin_memory.{name}").main
    given = [*(one for one in NEEDED[name] if not one.startswith("experiment=")), "--config-dir", "mine", "experiment=own"]
    code, _, errors = run_in_process(main, given, tmp_path, capsys)
    assert code == 2
    assert set(re.findall(r"no setting ([\w.]+);", errors)) == {"traner", "site.spare"}
    assert "trainer" in errors


def test_an_option_that_the_yaml_does_not_list_is_offered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Hydra alone would say the same of a misspelt one."""
    train = importlib.import_module("pin_memory.train").main
    code, _, errors = run_in_process(train, ["experiment=demo", "trainer.overfit_batches=1"], tmp_path, capsys)
    assert code == 2
    assert "+trainer.overfit_batches=" in errors


def test_a_sweep_is_refused_before_its_first_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = importlib.import_module("pin_memory.train").main
    code, _, errors = run_in_process(train, ["-m", "experiment=demo", "seed=1,2", "+nonsense=1"], tmp_path, capsys)
    assert code == 2
    assert errors.count("There is no setting nonsense") == 1
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_sweep_without_data_says_so_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = importlib.import_module("pin_memory.train").main
    code, _, errors = run_in_process(train, ["-m", "sweep=seeds"], tmp_path, capsys)
    assert code == 2
    assert errors.count("There are no data to train on") == 1


def test_what_one_job_of_a_sweep_lacks_is_on_its_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Be it a folder or a key that this job alone has: the others are still tried."""
    train = importlib.import_module("pin_memory.train").main
    (tmp_path / "mine" / "variant").mkdir(parents=True)
    (tmp_path / "mine" / "variant" / "own.yaml").write_text("# @package _global_\nnonsense: 1\n")
    given = ["-m", "--config-dir", "mine", "experiment=multi_source_gsi", "paths.data=nowhere", "hydra.sweep.dir=swept"]
    code, output, _ = run_in_process(train, [*given, "variant=mixture,own"], tmp_path, capsys)
    assert code == 2
    jobs = {job["settings"]["variant"]: job for job in read_sweep(tmp_path / "swept")["jobs"]}
    assert [job["outcome"] for job in jobs.values()] == ["failed"] * 2
    assert "paths.data=nowhere: no such folder" in jobs["mixture"]["error"]
    assert "There is no setting nonsense" in jobs["own"]["error"]
    assert "2 failed" in output


def test_options_of_a_reader_are_checked_when_the_domain_is_made() -> None:
    """For those who write Python, and for what is never opened (`test=false`)."""
    with pytest.raises(ConfigurationError, match="has no option image; its options are images, labels"):
        FolderDataModule("somewhere", image="rgb")


def test_an_option_of_a_group_that_is_null_by_default_is_checked_by_its_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate = importlib.import_module("pin_memory.evaluate").main
    (tmp_path / "there").touch()
    code, _, errors = run_in_process(evaluate, ["checkpoint=there", "protocol=whole", "+protocol.windw=3"], tmp_path, capsys)
    assert (code, "no setting protocol.windw" in errors, "protocol.window" in errors) == (2, True, True)
    code, _, errors = run_in_process(evaluate, ["checkpoint=none", "protocol=whole", "+protocol.flip=true"], tmp_path, capsys)
    assert (code, "no setting" in errors, "expected a run folder" in errors) == (2, False, True)
    code, _, errors = run_in_process(evaluate, ["checkpoint=none", "+protocol.window=3"], tmp_path, capsys)
    assert (code, "no setting protocol;" in errors) == (2, True)


REFERENCES = {
    "one that another names": {"which": "long", "lengths": {"short": 100, "long": 200}, "trainer": {"max_steps": "${lengths.${which}}"}},
    "with brackets": {"mine": {"base": 100}, "trainer": {"max_steps": "${mine[base]}"}},
    "relative": {"mine": {"base": 100, "twice": "${.base}"}, "trainer": {"max_steps": "${mine.twice}"}},
    "of two levels": {"mine": {"base": 100, "more": {"twice": "${..base}"}}, "trainer": {"max_steps": "${mine.more.twice}"}},
    "a callback": {"watch": {"_target_": "lightning.pytorch.callbacks.Timer"}, "callbacks": {"mine": "${watch}"}},
}


@pytest.mark.parametrize("settings", REFERENCES.values(), ids=REFERENCES)
def test_what_a_reference_leads_to_is_read(settings: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings of one's own in an experiment of one's own; what nothing leads to beside them is refused."""
    places = importlib.import_module("pin_memory.train").main, ["--config-dir", "mine", "experiment=own", "optimizer.lr=-1"]
    file = tmp_path / "mine" / "experiment" / "own.yaml"
    file.parent.mkdir(parents=True)
    head = "# @package _global_\ndefaults: [demo, _self_]\n"
    file.write_text(head + yaml.safe_dump(settings))
    code, _, errors = run_in_process(*places, tmp_path, capsys)
    assert code == 2
    assert errors == "Error: optimizer.lr must be greater than 0, found -1.\n"
    file.write_text(head + yaml.safe_dump(settings | {"other": {"base": 1}}))
    code, _, errors = run_in_process(*places, tmp_path, capsys)
    assert code == 2
    assert errors.startswith("Error: There is no setting other;"), errors
