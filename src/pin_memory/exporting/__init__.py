"""Handing a trained network to other programs: ONNX, torch.export, safetensors, a folder for a model hub."""

from pin_memory.exporting.weights import load_safetensors

__all__ = ["load_safetensors"]
