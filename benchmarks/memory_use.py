"""How much a trained network reads from its memory: it is evaluated with the items as learned, and with others in their place.

    python -m benchmarks.memory_use RUN [RUN ...] [--images 60] [--data DIR]

`shuffled` gives every class the item of another, `mean` gives all classes the same item. Where neither changes the score, the network does
not use what distinguishes the items. It also prints the mean cosine of different classes' items, and the entropy of the read weights as
a share of that of equal weights, in a table as Markdown.
"""

import argparse
import math

import torch
from torch import Tensor

from pin_memory.analysis import load_subject
from pin_memory.analysis.subject import Subject
from pin_memory.domains import normalize
from pin_memory.memory import operations
from pin_memory.metrics import DomainConfusion, class_iou, mean_iou

ITEMS = ("learned", "shuffled", "mean")


def main() -> None:
    """Print a row per run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--data")
    options = parser.parse_args()
    print("| run | cosine of different items | entropy of the read weights | mIoU, items learned | shuffled | mean |")
    print("|---|---|---|---|---|---|")
    for run in options.runs:
        subject = load_subject(run, images=options.images, data=options.data)
        memory = subject.network.require_memory()
        learned = memory.items.clone()
        cosine, entropy = closeness(learned), weight_entropy(subject)
        scores = []
        for kind in ITEMS:
            memory.commit(replaced(learned, kind))
            scores.append(score(subject))
        cells = [f"{cosine:.3f}", f"{entropy:.4f}", *(f"{100 * value:.1f}" for value in scores)]
        print(f"| {run} | {' | '.join(cells)} |", flush=True)


def replaced(items: Tensor, kind: str) -> Tensor:
    """The learned items `(K, C)`, or others in their place; classes that were never seen keep their zero."""
    seen = items.any(dim=1)
    other = items.clone()
    if kind == "shuffled":
        other[seen] = items[seen].roll(1, dims=0)
    elif kind == "mean":
        other[seen] = operations.unit(items[seen].mean(dim=0, keepdim=True))
    return other


def closeness(items: Tensor) -> float:
    """Mean cosine of the items of different classes."""
    seen = operations.unit(items[items.any(dim=1)])
    cosines = seen @ seen.T
    number = len(seen)
    return float((cosines.sum() - cosines.diagonal().sum()) / (number * (number - 1)))


@torch.inference_mode()
def weight_entropy(subject: Subject) -> float:
    """Mean entropy of the read weights over the cells of the targets' images, 1 for equal weights."""
    network = subject.network
    memory = network.require_memory()
    entropies = []
    for batches in subject.targets.values():
        for batch in batches:
            scores = memory.read(network.encode(normalize(batch["image"])).features).similarity / memory.read_temperature
            logs = scores.log_softmax(dim=1)
            entropies.append(float(-(logs.exp() * logs).sum(dim=1).mean()) / math.log(len(memory.items)))
    return sum(entropies) / len(entropies)


@torch.inference_mode()
def score(subject: Subject) -> float:
    """Mean mIoU over the targets."""
    scores = []
    for batches in subject.targets.values():
        confusion = DomainConfusion(subject.network.num_classes)
        for batch in batches:
            size = tuple(batch["label"].shape[-2:])
            confusion.update(subject.protocol.predict(subject.network, batch["image"], size, subject.statistics), batch["label"])
        scores.append(mean_iou(class_iou(confusion.compute())))
    return sum(scores) / len(scores)


if __name__ == "__main__":
    main()
