"""Where metrics go: a CSV file in the run folder and, where it is chosen, Weights & Biases, TensorBoard or MLflow."""

from pin_memory.loggers.csv import CSVLogger
from pin_memory.loggers.trackers import MLFLOW_ID, log_scores, log_settings, mlflow_logger, tensorboard_logger
from pin_memory.loggers.wandb import MODES, describe_run, finish_wandb, wandb_logger, wandb_mode
from pin_memory.loggers.wandb_parts import RUN_ID, earlier_run_id
from pin_memory.loggers.wandb_tables import log_targets

__all__ = [
    "MLFLOW_ID",
    "MODES",
    "RUN_ID",
    "CSVLogger",
    "describe_run",
    "earlier_run_id",
    "finish_wandb",
    "log_scores",
    "log_settings",
    "log_targets",
    "mlflow_logger",
    "tensorboard_logger",
    "wandb_logger",
    "wandb_mode",
]
