"""Where metrics go: a CSV file in the run folder and, where it is installed and configured, Weights & Biases.

Training never waits for W&B: without a key or a network the run is kept offline, and a server that stops answering cannot hold it.
"""

from pin_memory.loggers.csv import CSVLogger
from pin_memory.loggers.reaching import MODES, wandb_mode
from pin_memory.loggers.run_id import RUN_ID, earlier_run_id
from pin_memory.loggers.wandb import finish_wandb, wandb_logger
from pin_memory.loggers.wandb_tables import log_targets

__all__ = ["MODES", "RUN_ID", "CSVLogger", "earlier_run_id", "finish_wandb", "log_targets", "wandb_logger", "wandb_mode"]
