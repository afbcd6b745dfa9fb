"""`sweep=study`: what each variant changes, and a small study from its jobs to its table."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from pin_memory import compare, train
from pin_memory.cli.unread import refuse_unread
from pin_memory.runs import build
from pin_memory.runs.folder import dotted
from pin_memory.utils.config import config_directory, plain
from tests.helpers.in_process import run_in_process
from tests.helpers.tiny_run import TINY

MEMORY, BACKBONE = "network.memory", "network.backbone"
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "erm_twice_the_rate": ("erm", {"schedule.factor": 2}),
    "fourier": ("erm", {"method.randomisation._target_": "pin_memory.methods.FourierRandomisation"}),
    "mixstyle": ("erm", {"network.mix_style._target_": "pin_memory.networks.MixStyle"}),
    "random_convolution": ("erm", {"method.randomisation._target_": "pin_memory.methods.RandomConvolution"}),
    "erm_slow_backbone": ("erm", {"method.backbone_lr_factor": 0.1}),
    "erm_frozen_norms": ("erm", {f"{BACKBONE}.freeze": "norms"}),
    "frozen_backbone": ("erm", {f"{BACKBONE}.freeze": "all"}),
    "lora": ("erm", {"network.adapter.rank": 16, "network.adapter.targets": ["conv_pw", "conv_pwl"]}),
    "mixture": ("pin_the_memory", {"method.train_statistics": "mixture"}),
    "frozen_statistics": ("pin_the_memory", {"method.train_statistics": "frozen"}),
    "frozen_norms": ("pin_the_memory", {f"{BACKBONE}.freeze": "norms"}),
    "frozen_after_warm_up": ("pin_the_memory", {"method.freeze_statistics_after": 100}),
    "pin_frozen_backbone": ("pin_the_memory", {f"{BACKBONE}.freeze": "all"}),
    "fast_commit": ("pin_the_memory", {"method.commit": "fast"}),
    "text_anchor": ("pin_the_memory", {"method.start.kind": "text", "method.weights.structure": 0.0, f"{MEMORY}.anchor_weight": 0.05}),
    "gradient_clip_3": ("pin_the_memory", {"method.gradient_clip": 3}),
    "temperature_0.1": ("pin_the_memory", {f"{MEMORY}.gumbel": False, f"{MEMORY}.read_temperature": 0.1}),
    "temperature_0.03": ("pin_the_memory", {f"{MEMORY}.gumbel": False, f"{MEMORY}.read_temperature": 0.03}),
    "momentum_0.5": ("pin_the_memory", {f"{MEMORY}.momentum": 0.5}),
    "momentum_0.95": ("pin_the_memory", {f"{MEMORY}.momentum": 0.95}),
    "area_shares": ("pin_the_memory", {f"{MEMORY}.shares": "area"}),
    "inner_rate": ("pin_the_memory", {"method.inner_lr_fraction": 0.25}),
    "second_order": ("pin_the_memory", {"method.first_order": False}),
    "heads_only_inner": ("pin_the_memory", {"method.inner_parameters": "heads"}),
    "harder_meta_test": ("pin_the_memory", {"data.meta_test_augmentation.jitter_probability": 1}),
    "output_stride_8": ("pin_the_memory", {f"{BACKBONE}.output_stride": 8}),
    "batch_4": ("pin_the_memory", {"loading.batch_size": 4}),
    "adamw": ("pin_the_memory", {}),  # which the benchmarks for a CPU have
    "sgd": ("pin_the_memory", {"optimizer._target_": "torch.optim.SGD", "inner_lr_fraction": 0.25}),
    "twice_the_length": ("pin_the_memory", {"trainer.max_steps": 1200}),
}
"""Method and changed settings of each variant that is no plain method; of a group that is added, some."""
GROUPS = (
    "method.randomisation",
    "network.mix_style",
    "network.adapter",
    "data.meta_test_augmentation",
    "optimizer",
    "method.start",
    "text.",
)
"""Parts that a variant may add, or exchange, as a whole."""
QUICK = ("erm_twice_the_rate", "mixstyle", "temperature_0.03", "sgd")


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        cfg = compose("train", ["experiment=three_countries", "paths.run=unused", *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        refuse_unread(cfg, "train")
    return cfg


def test_every_variant_is_a_method_or_has_its_changes_listed() -> None:
    names = {path.stem for path in (config_directory() / "variant").glob("*.yaml")}
    assert names - CHANGES.keys() == {"erm", "erm_memory", "mldg", "meta_seg_net_dg", "pin_the_memory", "ppar"}
    assert CHANGES.keys() <= names


@pytest.mark.parametrize("variant", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CHANGES])
def test_a_variant_changes_what_it_says_and_nothing_else(variant: str) -> None:
    method, changes = CHANGES[variant]
    cfg = composed(f"variant={variant}", f"{BACKBONE}.pretrained=null")
    own, base = (
        dotted({key: value for key, value in plain(one).items() if key != "hydra"}) for one in (cfg, composed(f"variant={method}"))
    )
    base[f"{BACKBONE}.pretrained"] = None
    changed = {key for key in own.keys() | base.keys() if own.get(key) != base.get(key)}
    assert {key: own[key] for key in changes} == changes
    extra = {key for key in changed - changes.keys() if not key.startswith(GROUPS)}
    assert extra == ({"method.backbone_lr_factor"} if variant == "sgd" else set())
    if variant not in (*QUICK, "text_anchor"):  # which needs a file
        assert build.build_without_weights(cfg).name == method


def test_a_method_that_is_named_besides_replaces_that_of_the_variant() -> None:
    assert composed("variant=fourier", "method=mldg").method._target_ == "pin_memory.methods.MLDG"
    assert composed("variant=ppar").method._target_ == "pin_memory.methods.PPAR"


def test_a_study_is_seed_by_seed_over_targets_and_variants() -> None:
    params = composed("sweep=study_leave_one_out").hydra.sweeper.params
    assert list(params) == ["seed", "target", "variant"]
    assert params.target == "camvid,kitti,idd_lite"
    variants = params.variant.split(",")
    assert all((config_directory() / "variant" / f"{name}.yaml").is_file() for name in variants)
    assert composed("sweep=study").hydra.sweeper.params.variant == params.variant


@pytest.mark.slow
def test_a_study_from_its_jobs_to_its_table(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A variant that fails does not end it, and one that differs in name alone counts once; the second start trains nothing again."""
    data = f"paths.data={trained_run.parents[1] / 'stand_ins'}"
    tiny = [one for one in TINY if not one.startswith("optimizer")]
    command = ["experiment=demo", data, "logger=csv", "floors=false", *tiny, "sweep=study", "seed=1,2"]
    command += ["variant=erm,adamw,ppar,fourier,pin_the_memory", "network.backbone.pretrained=null"]
    code, said, errors = run_in_process(train.main, command, tmp_path, capsys)
    assert code == 2, errors + said
    study = tmp_path / "runs" / "demo" / "sweeps" / "study"
    assert len(re.findall(r"^Failed: seed-[12]_variant-ppar ", said, re.MULTILINE)) == 2
    assert len(re.findall(r"^Same run: ", said, re.MULTILINE)) == 2
    finished = {path.parent.name: json.loads(path.read_text()) for path in study.glob("*/results.json")}
    assert {(one["variant"], one["seed"]) for one in finished.values()} >= {(name, seed) for name in ("erm", "fourier") for seed in (1, 2)}
    assert len(finished) == 6
    assert all(one["step_seconds"] > 0 and one["peak_bytes"] > 1e8 for one in finished.values())

    written = {path: path.stat().st_mtime_ns for path in study.glob("*/checkpoints/last.ckpt")}
    code, again, errors = run_in_process(train.main, command, tmp_path, capsys)
    assert code == 2, errors
    assert written == {path: path.stat().st_mtime_ns for path in study.glob("*/checkpoints/last.ckpt")}
    assert again.count("Skipped: ") == 8

    one = [*command[:-2], "seed=1", "variant=mixstyle", command[-1]]
    assert run_in_process(train.main, one, tmp_path, capsys)[0] == 0  # ppar's jobs are none of this start
    assert (study / "seed-1_variant-mixstyle" / "results.json").is_file()

    code, said, errors = run_in_process(compare.main, [f"runs={study}", "baseline=erm"], tmp_path, capsys)
    assert code == 0, errors
    assert re.search(
        r"method +variant +seeds +sources +gain, sources +gain, mean, by seed +better +p +images better +p, images +s a step +GiB", said
    )
    assert re.search(r"^erm +fourier +2 \(1, 2\) .* [+-]\d+\.\d, [+-]\d+\.\d .* of 6 ", said, re.MULTILINE)
