"""Mistakes in the settings of a training: each is found before anything heavy, with the sentence that says what to change.

They go through the composition of the command and the checks of training, in this process.
"""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from lightning.pytorch import Trainer
from omegaconf import DictConfig

from pin_memory.cli.errors import explain
from pin_memory.domains.stand_ins.writers import StandIns
from pin_memory.evaluation.evaluate import evaluate
from pin_memory.networks import backbones
from pin_memory.runs.checkpoints import check_same_classes
from pin_memory.training.checks import check_settings, slow_precision
from pin_memory.training.run import train
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError

SMALL = ["network.channels=16", "network.auxiliary_channels=8", "loading.num_workers=0", "logger=csv", "paths.output=unused"]


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small stand-ins of every data set."""
    root = tmp_path_factory.mktemp("mistakes") / "sets"
    StandIns(root, images_per_domain=8, seed=1, width=160).prepare()
    return root


@pytest.fixture(autouse=True)
def nothing_heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights are downloaded, no image is decoded and no step is made before a mistake is reported."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("too late")

    monkeypatch.setattr(backbones, "pretrained_state", refuse)
    monkeypatch.setattr("pin_memory.domains.readers.base.read_rgb", refuse)
    monkeypatch.setattr(Trainer, "fit", refuse)


def composed(command: str, *overrides: str) -> DictConfig:
    """The configuration of a command."""
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return compose(command, overrides=list(overrides))


def message_of(sets: Path, folder: Path, *overrides: str) -> str:
    """What the command would say."""
    given = {override.partition("=")[0] for override in overrides}
    base = [*SMALL, "experiment=multi_source_gs", f"paths.data={sets}", f"paths.run={folder}"]
    base = [override for override in base if override.partition("=")[0] not in given]
    with pytest.raises(Exception) as caught:  # noqa: PT011 - that it is a user's mistake is asserted below
        train(composed("train", *base, *overrides), {})
    mistake = explain(caught.value)
    assert mistake is not None, f"not explained: {caught.value!r}"
    assert mistake.exit_code == 2
    assert not folder.exists(), "the run folder was made already"
    return mistake.message


MISTAKES = [
    # unknown names
    ("methd=erm", "There is no setting methd"),
    ("method=irm", "erm"),
    ("seed=4294967296", "seed must be less than 4294967296"),
    ("resume=5", "5"),
    ("callbacks.last.every=abc", "callbacks.last"),
    ("split.meta_test=5", "split"),
    ("+callbacks.seeds.foo=1", "unexpected keyword argument 'foo'"),
    ("network=deeplab_v3plus_timm", "give it on the command line: network.backbone.name="),
    ("method.backbone_lr_factor=0", "method.backbone_lr_factor must be greater than 0, found 0"),
    ("schedule.warmup=-1", "schedule.warmup must be greater than or equal to 0, found -1"),
    ("network.backbone.freeze=head", "expected one of none, stem, norms, all"),
    ("method.freeze_statistics_after=100000", "method.freeze_statistics_after=100000: training ends before, trainer.max_steps="),
    ("method.network=abc", "leave it out and set network=NAME"),
    ("optimizer.learning_rate=1", "There is no setting optimizer.learning_rate"),
    ("+optimizer.momentun=0.5", "momentun"),
    ("+method.colour=red", "colour"),
    # numbers
    ("optimizer.lr=0", "optimizer.lr must be greater than 0, found 0"),
    ("optimizer.lr=abc", "optimizer.lr must be a valid number, found 'abc'"),
    ("optimizer.lr=nan", "optimizer.lr must be a finite number, found nan"),
    ("optimizer.lr=null", "optimizer.lr must be a valid number, found None"),
    ("optimizer.momentum=1.5", "optimizer.momentum must be less than or equal to 1, found 1.5"),
    ("optimizer.weight_decay=-1", "optimizer.weight_decay must be greater than or equal to 0, found -1"),
    ("network.memory.momentum=1.2", "network.memory.momentum must be less than or equal to 1, found 1.2"),
    ("network.memory.read_temperature=0", "network.memory.read_temperature must be greater than 0, found 0"),
    ("network.dropout=2", "network.dropout must be less than or equal to 1, found 2"),
    ("method.weights.divergence=-0.4", "method.weights.divergence must be greater than or equal to 0, found -0.4"),
    ("method.auxiliary_weight=-1", "method.auxiliary_weight must be greater than or equal to 0, found -1"),
    ("method.temperature=0", "method.temperature must be greater than 0, found 0"),
    ("method.inner_lr=-1", "method.inner_lr must be greater than 0, found -1"),
    ("method.gradient_clip=0", "method.gradient_clip must be greater than 0, found 0"),
    ("method.on_non_finite=ignore", "method.on_non_finite must be 'raise' or 'skip', found 'ignore'"),
    ("initialisation.passes=0", "initialisation.passes must be greater than or equal to 1, found 0"),
    ("schedule.rate=abc", "schedule.rate must be a valid number, found 'abc'"),
    ("schedule.rate=-1", "schedule.rate must be greater than or equal to 0, found -1"),
    ("schedule.horizon=0", "schedule.horizon must be at least 1"),
    ("trainer.max_steps=0", "trainer.max_steps=0 trains nothing: give a number of iterations"),
    ("trainer.max_steps=-5", "trainer.max_steps must be greater than or equal to -1, found -5"),
    ("trainer.max_steps=1.5", "trainer.max_steps must be a valid integer, found 1.5"),
    ("trainer.val_check_interval=0", "trainer.val_check_interval must be greater than or equal to 1, found 0"),
    ("trainer.val_check_interval=0.5", "trainer.val_check_interval must be a valid integer, found 0.5"),
    ("trainer.val_check_interval=null", "trainer.val_check_interval must be a valid integer, found None"),
    ("trainer.check_val_every_n_epoch=1", "Leave it out and set trainer.val_check_interval"),
    ("trainer.max_epochs=5", "trainer.max_epochs=5: training counts iterations, not epochs. Leave it out and set trainer.max_steps"),
    ("+trainer.limit_train_batches=10", "trainer.limit_train_batches=10: training counts iterations, not epochs"),
    ("loading.batch_size=0", "loading.batch_size"),
    ("loading.num_workers=-1", "loading.num_workers"),
    ("augmentation.crop_size=0", "crop_size"),
    ("augmentation.crop_size=large", "crop_size"),
    ("augmentation.crop_size=[512,0]", "crop_size"),
    ("augmentation.crop_size=12", "the network sees one cell for 16 pixels"),
    ("test_statistics.share=2", "test_statistics.share"),
    # devices
    ("trainer.precision=16-mixed", "trainer.precision=16-mixed: expected one of 32-true, 64-true, bf16-mixed"),
    ("trainer.precision=half", "trainer.precision=half: expected one of 32-true"),
    ("trainer.accelerator=abacus", "abacus"),
    ("trainer.devices=0", "devices"),
    ("trainer.devices=1000000000", "trainer.devices=1000000000: expected at most 1024"),
    ("trainer.strategy=alone", "alone"),
    ("+trainer.gradient_clip_val=1.0", "set method.gradient_clip=1.0"),
    ("trainer.precision=bf16-true", "trainer.precision=bf16-true: expected one of 32-true"),
    ("seed=abc", "seed must be a valid integer"),
    ("seed=null", "seed must be a valid integer"),
    ("dry_run=perhaps", "dry_run must be a valid boolean, found 'perhaps'"),
    # what does not go together
    ("loading.batch_size=1", "batch normalisation after image pooling needs at least 2 images"),
    ("~data.sources.synthia", "train without meta-learning (method=erm)"),
    ("split.meta_test=[idd]", "Correct the names or set it to null"),
    ("+domain@data.targets.gtav=gtav", "Take one of the two out: ~data.targets.gtav or ~data.sources.gtav"),
    ("network.num_classes=11", "Set network.num_classes=19"),
    ("network.memory=null", "method=pin_the_memory needs a network with a memory"),
    ("test_statistics.policy=sometimes", "sometimes"),
    ("selection=target", "selection must be 'best' or 'last', found 'target'"),
    ("resume=nowhere", "nowhere"),
]


@pytest.mark.parametrize(("override", "expected"), MISTAKES, ids=[override for override, _ in MISTAKES])
def test_a_mistake_is_reported_before_anything_heavy(sets: Path, tmp_path: Path, override: str, expected: str) -> None:
    """One wrong setting."""
    assert expected in message_of(sets, tmp_path / "run", override)


def test_a_wrong_number_is_reported_before_data_are_looked_for(tmp_path: Path) -> None:
    """Nothing is drawn for it, and missing data sets are not what is reported."""
    for override in ("method.auxiliary_weight=-1", "method.weights.cohesion=null", "network.dropout=2"):
        assert override.partition("=")[0] in message_of(tmp_path / "nowhere", tmp_path / "run", override)
    with pytest.raises(InstantiationException, match=r"method\.temperature"):
        train(composed("train", "experiment=demo", f"paths.data={tmp_path / 'drawn'}", "paths.run=unused", "method.temperature=0"), {})
    assert not (tmp_path / "drawn").exists()


RANDOM = ["+memory_start=text", "text.path=null", "text.rows=random"]
MEMORY = "{_target_:pin_memory.memory.CategoricalMemory,num_classes:19,channels:16}"
COMBINATIONS = [
    (["method.first_order=false", "network.compile=true"], "set method.first_order=true"),
    (["method.first_order=false", "trainer.sync_batchnorm=true"], "SyncBatchNorm"),
    (["method=mldg", "method.first_order=false", "network.compile=true"], "torch.compile (network.compile=true)"),
    (["network=vit_linear", "network.auxiliary_channels=null", "method.first_order=false"], "network.backbone.fused_attention=true"),
    (["data.sources.synthia.loading={_target_:pin_memory.domains.Loading,batch_size:1}"], "loading.batch_size=1 of the source synthia"),
    (["schedule=polynomial", "schedule.power=-1"], "schedule.power must be greater than or equal to 0, found -1"),
    (["schedule=polynomial", "trainer.max_steps=-1"], "set it, or trainer.max_steps, above 0"),
    (["network.num_classes=11", "network.memory.num_classes=11"], "have 19 classes"),
    (["optimizer._target_=torch.optim.Adam"], "momentum"),
    (["experiment=single_source_g", "split.meta_test=null", "~data.sources.gtav_hard", "data.views=[]"], "experiment=single_source_g"),
    (["method=erm", f"+network.memory={MEMORY}"], "set network.memory=null"),
    (["+memory_start=text", "text.path=none.npy"], "configs/_base_/datasets/text_embedding/cityscapes_single.npy"),
    (["+memory_start=text", "text.path=null", "text.rows=random", "network.channels=18"], "network.channels=19"),
    (["+network.memory.anchor_weight=0.1"], "network.memory.anchor_weight=0.1 needs the embeddings"),
    (["+method.weights.structure=0.1"], "method.weights.structure=0.1 needs the embeddings"),
    ([*RANDOM, "network.memory.anchor_weight=0.3"], "network.memory.momentum=0.8 and network.memory.anchor_weight=0.3"),
    (["text=file", "text.path=null", "text.rows=random"], "nothing reads it. Add +alignment=text"),
]


@pytest.mark.parametrize(("overrides", "expected"), COMBINATIONS)
def test_settings_that_exclude_one_another(sets: Path, tmp_path: Path, overrides: list[str], expected: str) -> None:
    """Each is fine alone."""
    assert expected in message_of(sets, tmp_path / "run", *overrides)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_a_gpu_that_is_not_there(sets: Path, tmp_path: Path, accelerator: str) -> None:
    """Says what to take instead."""
    assert "Set trainer.accelerator=cpu, or auto" in message_of(sets, tmp_path / "run", f"trainer.accelerator={accelerator}")


@pytest.mark.parametrize(
    ("settings", "instructions", "machine", "said"),
    [
        (("trainer.precision=bf16-mixed",), (), "x86_64", True),
        (("trainer.precision=bf16-mixed", "trainer.accelerator=auto"), (), "AMD64", True),
        (("trainer.precision=bf16-mixed", "dry_run=true"), (), "x86_64", True),
        (("trainer.precision=bf16-mixed",), ("avx512_bf16",), "x86_64", False),
        (("trainer.precision=bf16-mixed",), ("amx_tile",), "x86_64", False),
        (("trainer.precision=bf16-mixed",), (), "aarch64", False),
        (("trainer.precision=32-true",), (), "x86_64", False),
        (("trainer.precision=64-true",), (), "x86_64", False),
    ],
)
def test_a_precision_that_the_processor_emulates_is_reported(
    settings: tuple[str, ...], instructions: tuple[str, ...], machine: str, said: bool,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Before data are looked for, and in the plan of a dry run."""
    for name in ("avx512_bf16", "amx_tile"):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda name=name: name in instructions)
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    cfg = composed("train", "experiment=demo", *settings)
    with caplog.at_level("WARNING"):
        check_settings(cfg)
    assert ("no bfloat16 arithmetic" in caplog.text) == said
    assert ("twelve times" in (slow_precision(cfg.trainer) or "")) == said


def test_a_gpu_is_not_asked_for_a_processors_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pin_memory.training.checks.computes_bfloat16", lambda: False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    for accelerator in ("auto", "gpu", "cuda"):
        cfg = composed("train", "experiment=demo", "trainer.precision=bf16-mixed", f"trainer.accelerator={accelerator}")
        assert slow_precision(cfg.trainer) is None


def test_no_validation_before_the_end_is_said_but_allowed(caplog: pytest.LogCaptureFixture) -> None:
    """A run shorter than the interval is what a first try looks like."""
    with caplog.at_level(logging.INFO):
        check_settings(composed("train", "experiment=demo", "trainer.max_steps=10", "trainer.val_check_interval=20"))
    assert "trainer.val_check_interval=20 is above trainer.max_steps=10" in caplog.text


@pytest.mark.parametrize("experiment", sorted(path.stem for path in (config_directory() / "experiment").glob("*.yaml")))
def test_the_experiments_pass(experiment: str) -> None:
    """Nothing that is shipped is refused."""
    check_settings(composed("train", f"experiment={experiment}"))


@pytest.fixture
def other_classes(trained_run: Path, tmp_path: Path) -> Path:
    """A checkpoint of which one class is called otherwise."""
    content = torch.load(trained_run / "checkpoints" / "last.ckpt", weights_only=True)
    content["pin_memory"]["label_space"]["names"][4] = "hedge"
    torch.save(content, tmp_path / "hedge.ckpt")
    return tmp_path / "hedge.ckpt"


def test_a_checkpoint_of_other_classes_is_not_resumed_from(sets: Path, tmp_path: Path, other_classes: Path) -> None:
    """A network of the same size, whose channels mean something else."""
    sources = ["network=deeplab_v3plus_resnet18", "network.backbone.pretrained=null", "+domain@data.sources.idd=idd"]
    message = message_of(sets, tmp_path / "run", f"resume={other_classes}", *sources)
    assert "differ first in class 4: 'hedge' there, 'fence' here" in message
    assert "Give the data the classes of the checkpoint" in message


def test_a_checkpoint_of_other_classes_is_not_evaluated(trained_run: Path, tmp_path: Path, other_classes: Path) -> None:
    """Before an image is read."""
    data = trained_run.parents[1] / "stand_ins"
    overrides = [f"checkpoint={other_classes}", f"paths.data={data}", f"paths.run={tmp_path / 'run'}", "paths.output=unused"]
    with pytest.raises(ConfigurationError, match="'hedge' there, 'fence' here"):
        evaluate(composed("evaluate", *overrides))


def test_numbers_and_order_of_classes_count() -> None:
    """The first difference is named."""
    check_same_classes(("road", "sky"), ["road", "sky"], Path("x"))
    with pytest.raises(ConfigurationError, match=r"2 classes, the labels here have 3; .* class 2: none there, 'car' here"):
        check_same_classes(("road", "sky"), ("road", "sky", "car"), Path("x"))
    with pytest.raises(ConfigurationError, match="class 0: 'road' there, 'sky' here"):
        check_same_classes(("road", "sky"), ("sky", "road"), Path("x"))
