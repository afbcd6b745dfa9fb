"""Looking into a trained network: features over domains, what the memory has learned, what is confused, what was gained."""

from pin_memory.analysis.calibration import Calibration, calibration, plot_calibration
from pin_memory.analysis.distances import DomainDistances, domain_distances
from pin_memory.analysis.feature_figures import plot_domain_distances, plot_domain_pairs, plot_tsne
from pin_memory.analysis.features import ClassFeatures, FeaturePoints, class_features, feature_points, memory_items, tsne
from pin_memory.analysis.memory import (
    MemoryDrift,
    activation_maps,
    class_structure,
    memory_drift,
    memory_similarity,
    structure_agreement,
)
from pin_memory.analysis.memory_figures import (
    blend,
    plot_activation_maps,
    plot_class_structure,
    plot_memory_drift,
    plot_memory_similarity,
)
from pin_memory.analysis.scores import ClassGain, class_gain, confusion_matrix, plot_confusion, plot_gain, row_shares
from pin_memory.analysis.style import save_figure
from pin_memory.analysis.subject import Subject, load_subject
from pin_memory.runs.results import read_confusions

__all__ = [
    "Calibration",
    "ClassFeatures",
    "ClassGain",
    "DomainDistances",
    "FeaturePoints",
    "MemoryDrift",
    "Subject",
    "activation_maps",
    "blend",
    "calibration",
    "class_features",
    "class_gain",
    "class_structure",
    "confusion_matrix",
    "domain_distances",
    "feature_points",
    "load_subject",
    "memory_drift",
    "memory_items",
    "memory_similarity",
    "plot_activation_maps",
    "plot_calibration",
    "plot_class_structure",
    "plot_confusion",
    "plot_domain_distances",
    "plot_domain_pairs",
    "plot_gain",
    "plot_memory_drift",
    "plot_memory_similarity",
    "plot_tsne",
    "read_confusions",
    "row_shares",
    "save_figure",
    "structure_agreement",
    "tsne",
]
