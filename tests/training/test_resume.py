"""Runs that are stopped anywhere are resumed as if they had not been."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from pin_memory.callbacks import BestCheckpoint, LastCheckpoint
from pin_memory.domains.stand_ins.writers import StandIns
from pin_memory.utils.errors import ConfigurationError, OutputError
from pin_memory.utils.locking import exclusive, is_in_use
from pin_memory.utils.signals import STOPPED, Stopped
from tests.helpers.locked import locked_by_another_process
from tests.helpers.resumption import WHITENED, Killed, differences, fit, left

Undisturbed = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stand-ins of every data set."""
    root = tmp_path_factory.mktemp("data") / "sets"
    StandIns(root, images_per_domain=8, seed=1, width=160).prepare()
    return root


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """What a run with given overrides leaves that nothing stops; each is made once."""
    made: dict[tuple[str, ...], dict[str, Any]] = {}

    def of(*overrides: str) -> dict[str, Any]:
        if overrides not in made:
            run = tmp_path_factory.mktemp("undisturbed") / "run"
            fit(data, run, *overrides)
            made[overrides] = left(run)
        return made[overrides]

    return of


STOPS = [
    pytest.param("on_train_batch_start", 3, "SIGTERM", id="in an iteration"),
    pytest.param("on_train_batch_start", 6, "SIGINT", id="by Ctrl-C in an iteration", marks=pytest.mark.slow),
    pytest.param("on_validation_batch_end", 5, "SIGUSR1", id="in a validation", marks=pytest.mark.slow),
    pytest.param("on_train_batch_start", 9, "SIGTERM", id="in the iteration before a validation", marks=pytest.mark.slow),
    pytest.param("on_train_batch_end", 2, "kill", id="killed before the first checkpoint", marks=pytest.mark.slow),
    pytest.param("on_train_batch_end", 14, "kill", id="killed in an iteration", marks=pytest.mark.slow),
    pytest.param("on_validation_batch_end", 10, "kill", id="killed in a validation", marks=pytest.mark.slow),
    pytest.param("on_train_end", 18, "kill", id="killed when all is done", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("hook", "step", "kind"), STOPS)
def test_a_stopped_run_ends_as_one_that_was_not_stopped(
    undisturbed: Undisturbed, data: Path, tmp_path: Path, hook: str, step: int, kind: str
) -> None:
    """Bit by bit: weights, memory, batch norm, optimiser, schedule, best weights and score, trace; no metric missing."""
    run = tmp_path / "run"
    how: Any = {"kill": Killed, "SIGINT": SystemExit}.get(kind, Stopped)  # Lightning makes exit code 1 of Ctrl-C
    with pytest.raises(how) as caught:
        fit(data, run, disturbed=(hook, step, kind))
    if how is Stopped:
        assert caught.value.code == STOPPED
    fit(data, run, resume=run)
    assert differences(undisturbed(), left(run)) == []
    assert not [path for path in run.rglob(".*") if path.is_file() and path.name != ".lock"]


@pytest.mark.slow
def test_stops_one_after_the_other(undisturbed: Undisturbed, data: Path, tmp_path: Path) -> None:
    """The validation that was left is made again, once, also when the next stop comes right after it."""
    run = tmp_path / "run"
    with pytest.raises(Stopped):
        fit(data, run, disturbed=("on_validation_batch_end", 5, "SIGTERM"))
    with pytest.raises(Killed):
        fit(data, run, disturbed=("on_train_batch_end", 6, "kill"), resume=run)
    with pytest.raises(Stopped):
        fit(data, run, disturbed=("on_validation_batch_end", 10, "SIGTERM"), resume=run)
    with pytest.raises(Stopped):
        fit(data, run, disturbed=("on_validation_batch_end", 10, "SIGTERM"), resume=run)
    fit(data, run, resume=run)
    assert differences(undisturbed(), left(run)) == []


@pytest.mark.slow
@pytest.mark.parametrize("step", [5, 6, 8])
def test_a_choice_before_an_iteration_is_the_same(undisturbed: Undisturbed, data: Path, tmp_path: Path, step: int) -> None:
    """Before it, right before it, and after it."""
    with pytest.raises(Stopped):
        fit(data, tmp_path / "run", *WHITENED, disturbed=("on_train_batch_start", step, "SIGTERM"))
    fit(data, tmp_path / "run", *WHITENED, resume=tmp_path / "run")
    found = left(tmp_path / "run")
    assert found["last"]["state_dict"]["whitening.mask0"].any()
    assert differences(undisturbed(*WHITENED), found) == []


@pytest.mark.slow
@pytest.mark.parametrize(("hook", "step", "kind"), [("on_validation_batch_end", 5, "SIGTERM"), ("on_train_batch_end", 14, "kill")])
def test_a_head_that_is_solved_is_solved_again(
    undisturbed: Undisturbed, data: Path, tmp_path: Path, hook: str, step: int, kind: str
) -> None:
    """Before validations and after the last iteration, on the same images; the last is the one that is saved."""
    overrides = ["method=meta_seg_net_dg", "method.solve_batches=2"]
    with pytest.raises((Stopped, Killed)):
        fit(data, tmp_path / "run", *overrides, disturbed=(hook, step, kind))
    fit(data, tmp_path / "run", *overrides, resume=tmp_path / "run")
    found = left(tmp_path / "run")
    assert differences(undisturbed(*overrides), found) == []
    assert {"ridge/lambda", "ridge/scale", "ridge/pivot_ratio"} <= found["metrics"].keys()
    committed = found["trace"]["items"][-1]  # by the last iteration, before the head for all sources was solved
    assert not torch.equal(found["last"]["state_dict"]["network.memory.items"], committed)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["method=ppar", "+alignment=text"])
def test_an_alignment_with_dropout_goes_on(undisturbed: Undisturbed, data: Path, tmp_path: Path, method: str) -> None:
    """In the middle of curriculum and ramp; alone, and in Pin the Memory."""
    text = ["text.path=null", "text.rows=random", "text.dim=24", "network.alignment.width=8", "network.alignment.layers=1"]
    with pytest.raises(Killed):
        fit(data, tmp_path / "run", method, *text, disturbed=("on_train_batch_end", 8, "kill"))
    fit(data, tmp_path / "run", "text.rows=checkpoint", method, *text[:1], *text[2:], resume=tmp_path / "run")
    found = left(tmp_path / "run")
    assert differences(undisturbed(method, *text), found) == []
    assert {"alignment/share", "alignment/ramp"} <= found["metrics"].keys()
    sides = {name: set(found["metrics"].get(f"reliability/inner_mean_{name}", [[]])[0]) for name in ("gtav", "synthia")}
    total = len(found["metrics"][f"reliability/{'' if method == 'method=ppar' else 'inner_'}mean"][0])
    assert sides["gtav"].isdisjoint(sides["synthia"]), "a domain has a reliability on the side where it was, and no old one"
    assert len(sides["gtav"] | sides["synthia"]) == (0 if method == "method=ppar" else total)


@pytest.mark.slow
@pytest.mark.parametrize("randomisation", ["fourier", "mixstyle"])
def test_randomised_styles_are_drawn_again(undisturbed: Undisturbed, data: Path, tmp_path: Path, randomisation: str) -> None:
    """Images and features of an iteration have the style that they would have had; and it is another training than without."""
    staged = "network.backbone._target_=tests.networks.test_mix_style.StagedBackbone"
    overrides = [f"+randomisation={randomisation}", *([staged] if randomisation == "mixstyle" else [])]
    with pytest.raises(Killed):
        fit(data, tmp_path / "run", *overrides, disturbed=("on_train_batch_end", 8, "kill"))
    fit(data, tmp_path / "run", *overrides, resume=tmp_path / "run")
    found = left(tmp_path / "run")
    assert differences(undisturbed(*overrides), found) == []
    assert differences(undisturbed(), found)


@pytest.mark.slow
def test_noise_in_validation_and_workers(undisturbed: Undisturbed, data: Path, tmp_path: Path) -> None:
    """Loaders draw the seeds of their workers from the generator that makes the noise."""
    overrides = ["loading.num_workers=2", "network.memory.gumbel_in_evaluation=true", "trainer.max_steps=10"]
    with pytest.raises(Stopped):
        fit(data, tmp_path / "run", *overrides, disturbed=("on_validation_batch_end", 5, "SIGTERM"))
    fit(data, tmp_path / "run", *overrides, resume=tmp_path / "run")
    assert differences(undisturbed(*overrides), left(tmp_path / "run")) == []
    alike = undisturbed(*[override for override in overrides if "workers" not in override])
    assert differences(alike, left(tmp_path / "run")) == []


@pytest.mark.slow
def test_a_kill_between_best_and_last(undisturbed: Undisturbed, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newer best.ckpt is none that the older state knows of."""
    save = LastCheckpoint.on_validation_end

    def killed(self: LastCheckpoint, trainer: Trainer, pl_module: Any) -> None:
        if trainer.global_step == 10:
            raise Killed
        save(self, trainer, pl_module)

    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "on_validation_end", killed)
        with pytest.raises(Killed):
            fit(data, tmp_path / "run")
    best, last = (
        torch.load(tmp_path / "run" / "checkpoints" / f"{name}.ckpt", weights_only=True)["global_step"] for name in ("best", "last")
    )
    assert (best, last) == (10, 9)
    fit(data, tmp_path / "run", resume=tmp_path / "run")
    assert differences(undisturbed(), left(tmp_path / "run")) == []


@pytest.mark.parametrize("harm", ["flipped", *(pytest.param(harm, marks=pytest.mark.slow) for harm in ("cut", "empty", "pickle"))])
def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_taken(
    undisturbed: Undisturbed, data: Path, tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the same end, and nothing of the damaged one kept."""
    run = tmp_path / "run"
    with pytest.raises(Stopped):
        fit(data, run, disturbed=("on_train_batch_start", 10, "SIGTERM"))
    last = run / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    if harm == "flipped":
        content[len(content) // 2] ^= 1
        assert torch.load(last, weights_only=True)["global_step"] == 11
    last.unlink()  # the one before must not be harmed through a common name
    last.write_bytes(
        {"cut": content[: len(content) // 2], "empty": b"", "flipped": content, "pickle": b"cos\nsystem\n(S'false'\ntR."}[harm]
    )
    fit(data, run, resume=run)
    assert f"Damaged: {last}" in caplog.text
    assert "Resuming from" in caplog.text
    assert "step-10.ckpt" in caplog.text
    assert differences(undisturbed(), left(run)) == []
    assert sorted(path.name for path in last.parent.glob("*.ckpt")) == ["best.ckpt", "last.ckpt", "step-15.ckpt"]


@pytest.mark.slow
def test_no_intact_checkpoint_is_an_error_that_names_all(data: Path, tmp_path: Path) -> None:
    """Not a start from the beginning: something is wrong with the disk."""
    run = tmp_path / "run"
    fit(data, run, "trainer.max_steps=6")
    for path in (run / "checkpoints").glob("*.ckpt"):
        path.write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"(?s)No checkpoint.*last\.ckpt.*step-5\.ckpt.*best\.ckpt"):
        fit(data, run, resume=run)
    with pytest.raises(ConfigurationError, match=r"last\.ckpt is damaged"):
        fit(data, tmp_path / "new", resume=run / "checkpoints" / "last.ckpt")


@pytest.mark.slow
def test_a_finished_run_continues_when_more_steps_are_requested(undisturbed: Undisturbed, data: Path, tmp_path: Path) -> None:
    """As one that was to make them from the start."""
    fit(data, tmp_path / "run", "trainer.max_steps=11")
    fit(data, tmp_path / "run", resume=tmp_path / "run")
    found, expected = left(tmp_path / "run"), undisturbed()
    for part in (found, found["best"], found["last"], expected, expected["best"], expected["last"]):
        part.pop("trace", None)  # its interval goes by the length of the run
    assert differences(expected, found) == []


def test_the_checkpoint_is_read_once_and_once_more_by_lightning(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checksums, its content for the checks of the settings, and its state for training."""
    run = tmp_path / "run"
    fit(data, run, "trainer.max_steps=2")
    read: list[str] = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda file, *rest, **options: read.append(str(file)) or load(file, *rest, **options))
    fit(data, run, "trainer.max_steps=3", resume=run)
    assert len([name for name in read if name.endswith("last.ckpt")]) <= 2, read


@pytest.mark.slow
def test_a_longer_run_takes_the_schedule_of_its_settings(data: Path, tmp_path: Path) -> None:
    """PyTorch would bring back the old horizon, at whose end nothing is learned any more."""
    fit(data, tmp_path / "run", "schedule=polynomial", "schedule.horizon=6", "trainer.max_steps=6")
    fit(data, tmp_path / "run", "schedule=polynomial", "schedule.horizon=12", "trainer.max_steps=9", resume=tmp_path / "run")
    content = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    (rate,) = content["lr_schedulers"][0]["_last_lr"]
    assert rate == pytest.approx(content["lr_schedulers"][0]["base_lrs"][0] * (1 - 9 / 12) ** 0.9)


@pytest.mark.slow
def test_a_checkpoint_file_starts_a_new_run(undisturbed: Undisturbed, data: Path, tmp_path: Path) -> None:
    """In its own folder, with its own rows of metrics; the earlier run stays as it is, and the new one ends as if it had not stopped."""
    fit(data, tmp_path / "run", "trainer.max_steps=6")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    fit(data, tmp_path / "new", "trainer.max_steps=8", resume=tmp_path / "run" / "checkpoints" / "last.ckpt")
    ends = [found["last"]["state_dict"] for found in (undisturbed("trainer.max_steps=8"), left(tmp_path / "new"))]
    assert differences(*ends) == []
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    steps, _ = left(tmp_path / "new")["metrics"]["loss/inner_segmentation"]
    assert steps == [7, 8]


@pytest.mark.slow
def test_temporary_files_of_a_kill_are_removed_and_only_those(data: Path, tmp_path: Path) -> None:
    """What is named otherwise, or is not written here, belongs to others."""
    run = tmp_path / "run"
    with pytest.raises(Stopped):
        fit(data, run, disturbed=("on_train_batch_start", 4, "SIGTERM"))
    ours = [run / "checkpoints" / ".last.ab12c9e0.tmp.ckpt", run / ".metrics.abcdefab.tmp.csv", run / ".results.00000000.tmp.json"]
    others = [run / ".notes.abcdefgh.txt", run / ".metrics.csv.swp", run / ".results.json", run / "wandb" / ".last.abcdefab.tmp.ckpt"]
    for path in (*ours, *others):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    fit(data, run, resume=run)
    assert not any(path.exists() for path in ours)
    assert all(path.exists() for path in others)


def test_a_run_that_another_process_is_at_is_left_alone(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a job that was started again before the first one ended; its workers hold no lock."""
    fit(data, tmp_path / "run", "trainer.max_steps=3")
    monkeypatch.setattr("pin_memory.utils.locking.PATIENCE", 0.1)
    with locked_by_another_process(tmp_path / "run"):
        assert is_in_use(tmp_path / "run")
        with pytest.raises(OutputError, match="another process is at work"):
            fit(data, tmp_path / "run", resume=tmp_path / "run")
    assert not is_in_use(tmp_path / "run")
    with exclusive(tmp_path / "run"), exclusive(tmp_path / "run"):  # of one process
        pass


@pytest.mark.slow
def test_seed_zero_is_a_seed(data: Path, tmp_path: Path) -> None:
    """Two runs of it are equal; another seed is another run."""
    runs = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fit(data, tmp_path / name, f"seed={seed}", "trainer.max_steps=6")
        runs[name] = left(tmp_path / name)
    assert differences(runs["a"], runs["b"]) == []
    assert any("state_dict" in text for text in differences(runs["a"], runs["c"]))


def test_the_best_so_far_moves_with_its_folder(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A run folder may be renamed; a best.ckpt that is damaged is no best."""
    with pytest.raises(Stopped):
        fit(data, tmp_path / "run", disturbed=("on_train_batch_start", 7, "SIGTERM"))
    (tmp_path / "run").rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", tmp_path / "damaged")
    state = torch.load(tmp_path / "moved" / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    (state,) = (value for key, value in state.items() if key.startswith("BestCheckpoint"))
    best = BestCheckpoint(tmp_path / "moved" / "checkpoints")
    best.load_state_dict(state)
    assert best.best_model_path == str(tmp_path / "moved" / "checkpoints" / "best.ckpt")
    assert best.best_model_score == state["best_model_score"]
    (tmp_path / "damaged" / "checkpoints" / "best.ckpt").write_bytes(b"PK")
    best = BestCheckpoint(tmp_path / "damaged" / "checkpoints")
    with caplog.at_level("INFO"):
        best.load_state_dict(state)
    assert best.best_model_score is None
    assert "not there any more" in caplog.text
