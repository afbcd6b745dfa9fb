"""The command `text`: files of text prototypes by open_clip, or by what stands in for it here."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pin_memory.memory import TextPrototypes
from pin_memory.text import main
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import CLASSES
from tests.helpers.in_process import run_in_process

Text = Callable[..., tuple[int, str, str]]


class Letters(nn.Module):
    """Encodes a text by counting letters."""

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Vectors `(N, 26)`."""
        assert not self.training
        return tokens.half()


def tokenizer(texts: list[str]) -> Tensor:
    """Counts of letters `(N, 26)`."""
    assert len(texts) <= 256
    return torch.tensor([[1 + text.count(chr(97 + i)) for i in range(26)] for text in texts])


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that answers as open_clip does."""

    def create_model(name: str, pretrained: str, weights_only: bool) -> nn.Module:
        assert weights_only
        if pretrained == "gone":
            raise RuntimeError("no network\nat all")
        return Letters()

    module = ModuleType("open_clip")
    module.__spec__ = sys.__spec__
    module.list_models = lambda: ["ViT-B-16", "ViT-B-16-quickgelu"]  # type: ignore[attr-defined]
    module.list_pretrained_tags_by_model = lambda name: ["openai", "gone"] if "quick" in name else []  # type: ignore[attr-defined]
    module.create_model, module.get_tokenizer = create_model, lambda name: tokenizer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "open_clip", module)
    return module


@pytest.fixture
def text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Text:
    """The command in an empty folder."""
    return lambda *arguments: run_in_process(main, list(arguments), tmp_path, capsys)


def test_a_file_says_what_it_was_made_of(stand_in: ModuleType, text: Text, tmp_path: Path) -> None:
    prompts, synonyms = '["a {}","the {}"]', "{car:[vehicle,auto]}"
    arguments = ["output=sub/a.safetensors", "classes=[road,car,traffic light]", f"prompts={prompts}", f"synonyms={synonyms}"]
    code, output, errors = text(*arguments)
    assert (code, errors) == (0, "")
    assert "3 classes, 26 numbers each" in output
    assert "text.path=sub/a.safetensors text.dim=26" in output
    path = tmp_path / "sub" / "a.safetensors"
    with safe_open(path, "pt") as content:
        about = content.metadata()
    made = {name: json.loads(about[name]) for name in ("classes", "prompts", "synonyms")}
    assert made == {
        "classes": ["road", "car", "traffic light"], "prompts": ["a {}", "the {}"], "synonyms": {"car": ["vehicle", "auto"]},
    }  # fmt: skip
    assert (about["model"], about["weights"], about["licence"]) == ("ViT-B-16-quickgelu", "openai", "MIT (OpenAI CLIP)")
    rows = TextPrototypes(str(path), 3, 26, centred=False).rows
    plain = tokenizer(["a road", "the road"]).double()
    plain = (plain / plain.norm(dim=1, keepdim=True)).mean(dim=0)
    torch.testing.assert_close(rows[0], (plain / plain.norm()).float())
    with pytest.raises(ConfigurationError, match="in another order"):
        TextPrototypes(str(path), 3, 26).check_classes(["car", "road", "traffic light"])


@pytest.mark.parametrize(
    ("classes", "number", "first"), [("cityscapes", 19, "road"), ("voc", 21, "background"), ("coco", 81, "background")]
)
def test_classes_by_name(stand_in: ModuleType, text: Text, tmp_path: Path, classes: str, number: int, first: str) -> None:
    assert text("output=a.safetensors", f"classes={classes}", "licence=CC0", "prompts=[" + ",".join(["'{}'"] * 300) + "]")[0] == 0
    with safe_open(tmp_path / "a.safetensors", "pt") as content:
        names, licence = json.loads(content.metadata()["classes"]), content.metadata()["licence"]
    assert (len(names), names[0], licence) == (number, first, "CC0")
    assert classes != "cityscapes" or tuple(names) == CLASSES
    assert TextPrototypes(str(tmp_path / "a.safetensors"), number, 26).rows.shape == (number, 26)


REFUSED = [
    (["classes=[road,road]"], "'road' comes twice"),
    (["classes=roads"], "classes=roads: expected a list of names, as classes=[road,sky], or one of cityscapes, voc, coco"),
    (["classes=[]"], "classes"),
    (["classes=[1,2]"], "classes"),
    (["prompts=[photo]"], "'photo' has no {}"),
    (["synonyms={rode:[street]}"], "there is no class 'rode'"),
    (["output=a.npy"], "output=a.npy: expected a name that ends in .safetensors"),
    (["model=ViT-B-17"], "Did you mean ViT-B-16"),
    (["weights=none.pt"], "weights=none.pt: no such file, and for this model open_clip has openai, gone"),
    (["model=ViT-B-16"], "open_clip has none for this model"),
    (
        ["weights=gone"],
        "could not make the encoder (no network). Give a file of these weights with weights=FILE, or, for the 19",
    ),
]


@pytest.mark.parametrize(("arguments", "expected"), REFUSED)
def test_mistakes(stand_in: ModuleType, text: Text, tmp_path: Path, arguments: list[str], expected: str) -> None:
    """Each in one message, and nothing is written."""
    code, output, errors = text("output=a.safetensors", *arguments)
    assert (code, output) == (2, "")
    assert expected in errors
    assert "Traceback" not in errors
    assert not list(tmp_path.iterdir())


def test_without_open_clip_there_are_two_ways_out(text: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    find = "pin_memory.exporting.text.importlib.util.find_spec"
    monkeypatch.setattr(find, lambda name: None)
    code, _, errors = text("output=a.safetensors")
    assert code == 2
    assert "pip install -e '.[text]'" in errors
    assert "cityscapes_single.npy of google-research/semivl" in errors


@pytest.fixture
def tiny_clip(tmp_path: Path) -> Iterator[str]:
    """Name of a model of open_clip that is small enough to have weights of chance."""
    open_clip = pytest.importorskip("open_clip", reason="needs the extra `text`")
    tower = {"layers": 1, "width": 32}
    config = {
        "embed_dim": 16, "vision_cfg": {**tower, "head_width": 16, "image_size": 32, "patch_size": 16},
        "text_cfg": {**tower, "context_length": 77, "vocab_size": 49408, "heads": 2},
    }  # fmt: skip
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "configs")
    yield "tiny-clip"
    (tmp_path / "configs" / "tiny-clip.json").unlink()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_open_clip_itself(tiny_clip: str, text: Text, tmp_path: Path, suffix: str) -> None:
    """With weights from a file: the rows are what its encoder says of each text alone."""
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model(tiny_clip).eval()
    path = tmp_path / f"weights{suffix}"
    torch.save(model.state_dict(), path) if suffix == ".pt" else save_file(model.state_dict(), path)
    code, output, errors = text("output=a.safetensors", "classes=[road,sky]", f"model={tiny_clip}", f"weights={path}")
    assert code == 0, errors
    assert "licence of the weights: not stated" in output
    with torch.inference_mode():
        rows = torch.cat([model.encode_text(open_clip.get_tokenizer(tiny_clip)([f"a photo of a {name}"])) for name in ("road", "sky")])
    found = TextPrototypes(str(tmp_path / "a.safetensors"), 2, rows.shape[1], centred=False).rows
    torch.testing.assert_close(found, rows / rows.norm(dim=1, keepdim=True))


def test_open_clip_runs_no_code_of_a_file(tiny_clip: str, text: Text, tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": print}}, tmp_path / "weights.pt")
    code, _, errors = text("output=a.safetensors", f"model={tiny_clip}", f"weights={tmp_path / 'weights.pt'}")
    assert code == 2
    assert "open_clip could not make the encoder (Weights only load failed" in errors
