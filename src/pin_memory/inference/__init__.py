"""Prediction with a trained network."""

from pin_memory.inference.batch_norm import RUNNING, TestStatistics
from pin_memory.inference.predictor import Predictor
from pin_memory.inference.protocol import WHOLE, Protocol
from pin_memory.inference.whole import predict_whole

__all__ = ["RUNNING", "WHOLE", "Predictor", "Protocol", "TestStatistics", "predict_whole"]
