"""What is watched and kept while training, never what is trained."""

from pin_memory.callbacks.best_checkpoint import BestCheckpoint
from pin_memory.callbacks.checkpoint_io import AtomicCheckpointIO
from pin_memory.callbacks.last_checkpoint import LastCheckpoint
from pin_memory.callbacks.memory_trace import MemoryTrace
from pin_memory.callbacks.panels import PredictionPanels
from pin_memory.callbacks.progress import TrainingProgress
from pin_memory.callbacks.wandb_media import WandbMedia

__all__ = ["AtomicCheckpointIO", "BestCheckpoint", "LastCheckpoint", "MemoryTrace", "PredictionPanels", "TrainingProgress", "WandbMedia"]
