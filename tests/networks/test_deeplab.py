"""DeepLabV3+ on every backbone, with and without memory."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from pin_memory.memory import CategoricalMemory
from pin_memory.networks import MemorySegmenter, ResNetBackbone
from pin_memory.utils.errors import ConfigurationError
from tests.networks.network_cases import NetworkCase


class TestResNet18WithMemory(NetworkCase):
    """The smallest backbone, output stride 16."""

    def build(self) -> MemorySegmenter:
        """ResNet-18."""
        return MemorySegmenter(ResNetBackbone(18), channels=32, memory=CategoricalMemory(channels=32), auxiliary_channels=16)


class TestResNet34WithoutMemory(NetworkCase):
    """The plain network of the baselines, with another number of classes."""

    classes = 5

    def build(self) -> MemorySegmenter:
        """ResNet-34."""
        return MemorySegmenter(ResNetBackbone(34), 5, channels=32, auxiliary_channels=16)


class TestResNet50AtStride8(NetworkCase):
    """Bottleneck blocks and the finest features."""

    def build(self) -> MemorySegmenter:
        """ResNet-50."""
        backbone = ResNetBackbone(50, output_stride=8)
        return MemorySegmenter(backbone, channels=32, memory=CategoricalMemory(channels=32), auxiliary_channels=16)


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_output_stride(depth: int, stride: int) -> None:
    """Deep features are `stride` times smaller than the image; low-level ones four times."""
    backbone = ResNetBackbone(depth, stride).eval()
    with torch.inference_mode():
        low, auxiliary, deep, _ = backbone(torch.randn(1, 3, 64, 64))
    assert (low.shape[-1], auxiliary.shape[-1], deep.shape[-1]) == (16, 64 // min(stride, 16), 64 // stride)
    assert (low.shape[1], auxiliary.shape[1], deep.shape[1]) == backbone.channels


def test_dilated_stage_computes_what_the_strided_one_skips() -> None:
    """On a grid as coarse as the stride, a dilated stage sees what the strided stage sees: equal at the kept positions."""
    torch.manual_seed(0)
    strided, dilated = ResNetBackbone(18, 32).eval(), ResNetBackbone(18, 16).eval()
    dilated.load_state_dict(strided.state_dict())
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        features = strided.stage3(strided.stage2(strided.stage1(strided.stem(image))))
        first_strided = strided.stage4[0].downsample(features)
        first_dilated = dilated.stage4[0].downsample(features)
    torch.testing.assert_close(first_dilated[:, :, ::2, ::2], first_strided)
    assert all(c.dilation == (2, 2) for c in dilated.stage4.modules() if isinstance(c, torch.nn.Conv2d) and c.kernel_size == (3, 3))


@pytest.mark.parametrize("settings", [{"depth": 20}, {"output_stride": 12}])
def test_unknown_backbones_are_refused(settings: dict[str, int]) -> None:
    """Depths and strides that do not exist."""
    with pytest.raises(ConfigurationError, match="expected a ResNet depth"):
        ResNetBackbone(**settings)


def test_pretrained_weights_from_a_file(tmp_path: Path) -> None:
    """A torchvision state dict is taken, with or without its classifier."""
    donor = torchvision.models.resnet18(weights=None)
    state = donor.state_dict()
    torch.save(state, tmp_path / "whole.pth")
    torch.save({k: v for k, v in state.items() if not k.startswith("fc.")}, tmp_path / "headless.pth")
    for name in ("whole.pth", "headless.pth"):
        backbone = ResNetBackbone(18, pretrained=str(tmp_path / name))
        assert torch.equal(backbone.stage4[1].conv2.weight, donor.layer4[1].conv2.weight)


@pytest.mark.parametrize("content", ["missing", "text", "other depth", "pickle"])
def test_pretrained_weights_that_do_not_fit_stop_the_run(tmp_path: Path, content: str) -> None:
    """No file, no state dict, another network, code instead of weights: an error that says the two ways out."""
    file = tmp_path / "weights.pth"
    if content == "text":
        file.write_text("not weights")
    elif content == "other depth":
        torch.save(torchvision.models.resnet50(weights=None).state_dict(), file)
    elif content == "pickle":
        torch.save(torchvision.models.resnet18(weights=None), file)
    with pytest.raises(ConfigurationError, match="pretrained=null"):
        ResNetBackbone(18, pretrained=str(file))


def test_download_that_fails_stops_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network: an error instead of silent random weights."""

    def no_network(*args: object, **kwargs: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    with pytest.raises(ConfigurationError, match=r"could not get the pretrained.*\n.*pretrained=FILE"):
        ResNetBackbone(18, pretrained="imagenet")


def test_downloaded_weights_are_kept_and_their_name_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In PyTorch's cache, as torchvision does; a second network fetches nothing."""
    state = torchvision.models.resnet18(weights=None).state_dict()
    asked = []

    def fetch(url: str, path: str, hash_prefix: str, progress: bool) -> None:
        asked.append((url.rpartition("/")[2], hash_prefix))
        torch.save(state, path)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fetch)
    for _ in range(2):
        network = ResNetBackbone(18, pretrained="imagenet")
        assert any(torch.equal(value, state["layer1.0.conv1.weight"]) for value in network.state_dict().values())
    assert asked == [("resnet18-f37072fd.pth", "f37072fd")]


def test_code_in_the_cache_of_weights_is_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever can write there must not be able to run anything here."""
    cache = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    cache.parent.mkdir(parents=True)
    with cache.open("wb") as file:
        pickle.dump(MakesAFile(tmp_path / "made"), file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"could not get the pretrained .*Weights only load failed"):
        ResNetBackbone(18, pretrained="imagenet")
    assert not (tmp_path / "made").exists()


class MakesAFile:
    """Something whose loading runs code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_heads_start_as_released() -> None:
    """He initialisation, sqrt(2 / fan-in), without bias; torch's own default would be smaller by a factor of sqrt(6)."""
    network = MemorySegmenter(ResNetBackbone(18, 32))
    convolution = network.aspp.bottleneck[0]
    assert float(convolution.weight.std()) == pytest.approx((2 / convolution.in_channels) ** 0.5, rel=0.02)
    assert not network.decoder.classify.bias.any()
