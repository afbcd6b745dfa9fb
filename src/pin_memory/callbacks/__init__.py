"""What is watched and kept while training, never what is trained."""

from pin_memory.callbacks.best_checkpoint import BestCheckpoint
from pin_memory.callbacks.last_checkpoint import LastCheckpoint
from pin_memory.callbacks.memory_trace import MemoryTrace
from pin_memory.callbacks.non_finite_checkpoint import BeforeNonFinite
from pin_memory.callbacks.panels import PredictionPanels
from pin_memory.callbacks.progress import TrainingProgress
from pin_memory.callbacks.sample_names import IterationNames
from pin_memory.callbacks.step_seeds import StepSeeds
from pin_memory.callbacks.step_times import StepTimes
from pin_memory.callbacks.tracked_pictures import TrackedPictures
from pin_memory.callbacks.wandb_media import WandbMedia
from pin_memory.utils.checkpoint_io import AtomicCheckpointIO

__all__ = [
    "AtomicCheckpointIO",
    "BeforeNonFinite",
    "BestCheckpoint",
    "IterationNames",
    "LastCheckpoint",
    "MemoryTrace",
    "PredictionPanels",
    "StepSeeds",
    "StepTimes",
    "TrackedPictures",
    "TrainingProgress",
    "WandbMedia",
]
