"""The benchmark of training steps: what it compares networks by."""

from argparse import Namespace

import pytest
import torch

from benchmarks import step_time


@pytest.mark.slow
def test_networks_are_compared_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of `conf/network` and a network of timm, which has wider heads on the same backbone."""
    monkeypatch.setattr(step_time, "peak_memory", lambda name, arguments: 100.0 if name.startswith("deeplab") else 150.0)
    names = ["deeplab_v3plus_mobilenetv4", "mobilenetv4_conv_small"]
    arguments = Namespace(
        networks=names, domains=1, images=2, size=32, rounds=1, threads=1, device="cpu", network="", memory_of=None, output=None
    )
    result = step_time.measure_networks(arguments)
    first, second = (result["networks"][name] for name in names)
    assert first["ratio"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert second["backbone_parameters"] == first["backbone_parameters"] < first["network_parameters"] < second["network_parameters"]
    assert second["seconds"] > 0
    last = step_time.networks_markdown(result).splitlines()[-1]
    assert last.startswith("| mobilenetv4_conv_small |")
    assert last.endswith("| 150 | 1.50 |")


def test_a_variant_is_of_the_network_that_is_named() -> None:
    overrides, dtype = step_time.chosen("erm+bf16+channels_last", Namespace(network="deeplab_v3plus_resnet18", override=[]))
    assert overrides == ["network=deeplab_v3plus_resnet18", "method=erm", "network.channels_last=true"]
    assert dtype == torch.bfloat16
