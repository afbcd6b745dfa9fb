"""Segmentation of images and videos with a trained network."""

from pin_memory.prediction.images import Outcome, predict_items
from pin_memory.prediction.inputs import Item, find_inputs
from pin_memory.prediction.load import load_model
from pin_memory.prediction.outputs import Saving

__all__ = ["Item", "Outcome", "Saving", "find_inputs", "load_model", "predict_items"]
