"""Prediction with a trained network."""

from pin_memory.inference.predictor import Predictor, load_model
from pin_memory.inference.statistics import RUNNING, TestStatistics
from pin_memory.inference.whole import PROTOCOL, predict_whole

__all__ = ["PROTOCOL", "RUNNING", "Predictor", "TestStatistics", "load_model", "predict_whole"]
