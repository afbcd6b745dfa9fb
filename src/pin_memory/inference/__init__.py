"""Prediction with a trained network."""

from pin_memory.inference.batch_norm import RUNNING, BatchNormStatistics
from pin_memory.inference.predictor import Predictor, Segmentation
from pin_memory.inference.protocol import WHOLE, Protocol

__all__ = ["RUNNING", "WHOLE", "BatchNormStatistics", "Predictor", "Protocol", "Segmentation"]
