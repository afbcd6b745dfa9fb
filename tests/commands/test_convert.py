"""Checkpoints of the authors' format: there and back bit by bit, evaluated, and refused where they do not fit or hold code."""

import functools
import json
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pin_memory.convert import main
from pin_memory.evaluate import main as evaluate
from pin_memory.exporting import official_names
from pin_memory.memory import CategoricalMemory
from pin_memory.networks import MemorySegmenter, PlainDecoder, ResNetBackbone, SummedASPP
from pin_memory.runs import checkpoints
from pin_memory.utils.errors import ConfigurationError
from tests.helpers import golden_numbers, in_process

SMALL = ["network=deeplab_v3plus_resnet18", "network.channels=16", "network.auxiliary_channels=8"]
Convert = Callable[..., None]


class Opaque:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def network(v2: bool = False, memory: bool = True, **backbone: Any) -> MemorySegmenter:
    """The network of `SMALL`, or its DeepLabV2 sibling, with weights that are all different."""
    torch.manual_seed(3)
    parts = {"pyramid": SummedASPP, "decoder": PlainDecoder} if v2 else {}
    net = MemorySegmenter(ResNetBackbone(18, **backbone), 19, 16, CategoricalMemory(channels=16) if memory else None, 8, **parts)
    for index, tensor in enumerate(net.state_dict().values()):
        tensor.copy_(torch.rand_like(tensor) + 0.1 if tensor.is_floating_point() else torch.tensor(index))
    return net


def released(net: MemorySegmenter, prefix: str = "module.") -> dict[str, Any]:
    """A checkpoint of the authors' format, as their training writes it."""
    v2 = isinstance(net.aspp, SummedASPP)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    items = state.pop("memory.items", None)
    named = OrderedDict((prefix + official_names.to_official(k, v2), v) for k, v in state.items())
    parameters = list(net.decoder.parameters())  # theirs has all of them
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
    for parameter in parameters:
        parameter.grad = torch.rand_like(parameter)
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.5)
    content = {
        "state_dict": named, "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(),
        "epoch": 39, "mean_iu": np.float64(0.4451),
    }  # fmt: skip
    return content if items is None else content | {"memory": items}


@pytest.fixture
def convert(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Convert:
    """Run the command in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    return functools.partial(in_process.run_command, main, monkeypatch)


@pytest.fixture
def refusal(convert: Convert, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command in `tmp_path` and return what it refuses with."""
    return functools.partial(in_process.refusal, main, monkeypatch, capsys)


def assert_same(found: Any, expected: Any) -> None:
    """Equal bit by bit, through containers; numpy's numbers have become Python's."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    else:
        assert found == expected


@pytest.mark.parametrize(("prefix", "memory", "v2"), [("", True, True), ("module.", True, False), ("module.module.", False, False)])
def test_there_and_back_is_bitwise(convert: Convert, tmp_path: Path, prefix: str, memory: bool, v2: bool) -> None:
    """Every tensor with its name, the memory, epoch, mean IoU, optimiser and schedule."""
    content = released(network(v2, memory), prefix)
    torch.save(content, "theirs.pth")
    parts = ["++network.pyramid._target_=pin_memory.networks.SummedASPP", "++network.decoder._target_=pin_memory.networks.PlainDecoder"]
    partial = ["++network.pyramid._partial_=true", "++network.decoder._partial_=true"]
    convert("source=theirs.pth", "output=sub/ours.ckpt", *SMALL, *(parts + partial if v2 else []))
    convert("source=sub/ours.ckpt", "output=back.pth", "to=official")
    back = torch.load("back.pth", weights_only=True)
    assert_same(back.pop("memory", None), content.pop("memory", None))
    assert_same(back, content)
    method, checkpoint = checkpoints.load_method(tmp_path / "sub" / "ours.ckpt")
    assert method.name == ("pin_the_memory" if memory else "erm")
    assert checkpoint.choices["network"] == "deeplab_v3plus_resnet18"
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["back.pth", "ours.ckpt", "theirs.pth"]


@pytest.mark.parametrize("kind", ["ibn", "isw"])
def test_instance_norms_have_their_names(convert: Convert, kind: str) -> None:
    """As in the released code; plain norms have no tensors there either."""
    content = released(network(memory=False, instance_norm=kind))
    names = {"layer0.1.weight", "layer1.1.instance_norm_layer.weight", "layer2.1.instance_norm_layer.bias"}
    assert {f"module.{name}" for name in names} <= set(content["state_dict"]) or kind == "isw"
    torch.save(content, "theirs.pth")
    convert("source=theirs.pth", "output=ours.ckpt", *SMALL, f"network.backbone.instance_norm={kind}")
    convert("source=ours.ckpt", "output=back.pth", "to=official")
    assert_same(torch.load("back.pth", weights_only=True)["state_dict"], content["state_dict"])


@pytest.mark.golden
@pytest.mark.parametrize("keys", ["r18_v3plus", "r50_v3plus", "r101_v2"])
def test_every_released_name_has_its_place(shared: Path, keys: str) -> None:
    """One to one, with equal shapes, both ways."""
    shapes = json.loads((shared / "golden" / f"state_keys_{keys}.json").read_text())
    depth, stride, *v2 = {"r18_v3plus": (18, 32), "r50_v3plus": (50, 16), "r101_v2": (101, 8, True)}[keys]
    own = {k: list(v.shape) for k, v in golden_numbers.segmenter(depth, stride, *v2).state_dict().items() if k != "memory.items"}
    assert {official_names.to_ours(name): shape for name, shape in shapes.items()} == own
    assert {official_names.to_official(name, official_names.is_deeplab_v2(own)) for name in own} == set(shapes)


@pytest.mark.golden
@pytest.mark.slow
def test_released_weights_give_the_released_logits_and_are_evaluated(
    shared: Path, convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, golden_error: Callable[[str, float], None]
) -> None:
    """A checkpoint under the released names, saved with numpy's older name of a scalar; then the command that follows."""
    golden = np.load(shared / "golden" / "net_r18_v3plus.npz")
    shapes = json.loads((shared / "golden" / "state_keys_r18_v3plus.json").read_text())
    state = golden_numbers.fill_module(shared).fill_state(shapes, 77) | golden_numbers.buffers(golden, "buf/")
    theirs = {f"module.{k}": torch.from_numpy(np.asarray(v)) for k, v in state.items()}
    torch.save({"state_dict": theirs, "memory": torch.from_numpy(golden["m_items"]), "epoch": 3, "mean_iu": np.float64(0.4)}, "theirs.pth")
    convert(
        "source=theirs.pth", "output=ours.ckpt", "experiment=demo", "network=deeplab_v3plus_resnet18", "network.backbone.output_stride=32",
        "network.channels=256", "network.auxiliary_channels=512",
        "data.stand_in.images_per_domain=8", "data.stand_in.width=160", "loading.max_test_images=2",
    )  # fmt: skip
    method, _ = checkpoints.load_method(tmp_path / "ours.ckpt")
    with torch.no_grad():
        logits = method.network(torch.from_numpy(golden["x_eval"]))
    expected = golden["eval/main_out"]
    error = float((logits - torch.from_numpy(expected)).abs().max() / np.abs(expected).max())
    golden_error("converted checkpoint r18_v3plus: eval/main_out (float32)", error)
    assert error <= 1e-4
    monkeypatch.setattr("sys.argv", ["evaluate", "checkpoint=ours.ckpt", "accelerator=cpu"])
    evaluate()
    (results,) = (json.loads(path.read_text()) for path in (tmp_path / "runs").rglob("results.json"))
    assert list(results["targets"]) == ["cityscapes", "bdd100k", "mapillary"]
    assert results["method"] == "pin_the_memory"
    assert all(0 <= target["miou"] < 0.2 for target in results["targets"].values()), "random weights"


@pytest.mark.slow
def test_a_run_of_ours_becomes_the_authors(convert: Convert) -> None:
    """With a wrapper before the names, the memory, the epoch and the sources' mean IoU; without an anchor, which theirs have not."""
    torch.save(released(network()), "theirs.pth")
    convert("source=theirs.pth", "output=ours.ckpt", *SMALL)
    content = torch.load("ours.ckpt", weights_only=True)
    del content["pin_memory"]["official"]
    content["epoch"] = 7
    content["state_dict"]["network.memory.anchor"] = torch.ones_like(content["state_dict"]["network.memory.items"])
    content["pin_memory"]["source_validation"] = {"gtav": 0.5, "synthia": 0.25}
    torch.save(content, "run.ckpt")
    convert("source=run.ckpt", "output=back.pth", "to=official")
    back = torch.load("back.pth", weights_only=True)
    assert set(back) == {"state_dict", "memory", "epoch", "mean_iu"}
    assert (back["epoch"], back["mean_iu"]) == (7, 0.375)
    assert_same(dict(sorted(back["state_dict"].items())), dict(sorted(released(network())["state_dict"].items())))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Opaque(os.system, "touch run"), "posix.system"),
        (Opaque(eval, "open('run', 'w')"), "eval"),
        (Path("x"), "pathlib"),
        (np.zeros(3), "numpy"),
        (torch.nn.Linear(1, 1), "Linear"),
    ],
)
def test_code_is_refused_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, named: str, zipped: bool) -> None:
    """In both file formats of torch; nothing is run, nothing is written."""
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.zeros(1)}, "extra": value}, "theirs.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ConfigurationError, match=r"theirs\.pth is refused") as refused:
        official_names.read_released(Path("theirs.pth"))
    assert named in str(refused.value).partition("would have to be called")[0]
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.pth"]


@pytest.mark.parametrize("number", [np.float64(0.25), np.float32(0.25), np.int64(3), np.int32(3), 0.25, 0])
@pytest.mark.parametrize("numpy_1", [True, False])
def test_numbers_of_numpy_are_numbers(tmp_path: Path, number: float, numpy_1: bool) -> None:
    """Under both names that numpy has given to its scalars."""
    path = tmp_path / "theirs.pth"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "mean_iu": number}, path, _use_new_zipfile_serialization=False)
    if numpy_1:  # the older name is what a file of the authors' time has
        path.write_bytes(path.read_bytes().replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray"))
    kept = official_names.read_released(path).extras["mean_iu"]
    assert kept == number
    assert type(kept) in (float, int)


def test_tensors_that_do_not_fit_are_counted_and_named(refusal: Callable[..., str]) -> None:
    """Under the released names, with shapes."""
    content = released(network())
    state = content["state_dict"]
    del state["module.layer0.0.weight"], state["module.dsn.0.bias"]
    state["module.layer9.weight"] = torch.zeros(1)
    state["module.final2.0.bias"] = torch.zeros(5)
    torch.save(content | {"memory": torch.zeros(19, 8)}, "theirs.pth")
    message = refusal("source=theirs.pth", "output=ours.ckpt", *SMALL)
    for part in (
        "2 missing, first layer0.0.weight",
        "1 unexpected, first layer9.weight",
        "2 of another shape, first final2.0.bias with (5,) instead of (19,)",
        "deeplab_v3plus_resnet18",
    ):
        assert part in message


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A released checkpoint, the same as ours, and files that are neither."""
    folder = tmp_path_factory.mktemp("files")
    torch.save(released(network()), folder / "theirs.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["convert", f"source={folder / 'theirs.pth'}", f"output={folder / 'ours.ckpt'}", *SMALL])
        main()
    (folder / "link.pth").symlink_to("theirs.pth")
    (folder / "sub").mkdir()
    (folder / "half.pth").write_bytes((folder / "theirs.pth").read_bytes()[:5000])
    torch.save([1], folder / "list.pth")
    torch.save({"state_dict": {"a": torch.zeros(1)}, "extra": Opaque(os.system, "touch run")}, folder / "code.pth")
    torch.save({"weights": 1, "epoch": 2}, folder / "foreign.pth")
    torch.save({key: value for key, value in released(network()).items() if key != "memory"}, folder / "no_items.pth")
    torch.save({"state_dict": {"a": torch.zeros(1), "module.a": torch.zeros(1)}}, folder / "twice.pth")
    return folder


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["source=theirs.pth", "output=theirs.pth"], "is the source itself"),
        (["source=theirs.pth", "output=link.pth"], "is the source itself"),
        (["source=ours.ckpt", "output=sub/../ours.ckpt", "to=official"], "is the source itself"),
        (["source=missing.pth", "output=x.ckpt"], "no such file"),
        (["source=ours.ckpt", "output=x.ckpt"], "to=official"),
        (["source=theirs.pth", "output=x.ckpt", "to=official"], "holds no settings"),
        (["source=theirs.pth", "output=x.ckpt", "to=mine"], "choose among ours, official"),
        (["source=half.pth", "output=x.ckpt"], "half.pth is not a readable checkpoint"),
        (["source=code.pth", "output=x.ckpt"], "code.pth is refused"),
        (["source=list.pth", "output=x.ckpt"], "found a list"),
        (["source=foreign.pth", "output=x.ckpt"], "found the keys weights, epoch"),
        (["source=twice.pth", "output=x.ckpt"], "two tensors have the same name"),
        (["source=theirs.pth", "output=/dev/null/x.ckpt"], "nothing can be written there"),
        (["source=theirs.pth", "output=sub"], "Cannot write"),
        (["source=theirs.pth", "output=x.ckpt", "method=erm"], "15 unexpected, first memory."),
        (["source=theirs.pth", "output=x.ckpt", "method=erm"], "method=pin_the_memory (or erm_memory), network=NAME"),
        (["source=no_items.pth", "output=x.ckpt"], "1 missing, first memory."),
        (["source=theirs.pth", "output=x.ckpt", "network=deeplab_v3plus_resnet50"], "layer1.0.conv3.weight"),
    ],
)
def test_invalid_settings(
    refusal: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], expected: str
) -> None:
    """Each reported in one message; what is there stays as it is, and nothing is added."""
    monkeypatch.chdir(folder)
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}
    assert expected in refusal(*SMALL, *overrides)
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()} == before


def test_a_ridge_memory_has_no_place_there(refusal: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their networks have none."""
    monkeypatch.chdir(folder)
    content = torch.load("ours.ckpt", weights_only=True)
    content["state_dict"]["network.memory.log_lambda"] = torch.zeros(())
    torch.save(content, "ridge.ckpt")
    assert "a categorical memory, found one with memory.log_lambda" in refusal("source=ridge.ckpt", "output=x.pth", "to=official")
    Path("ridge.ckpt").unlink()
    assert not Path("x.pth").exists()
