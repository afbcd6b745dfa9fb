"""Labels that hold train ids already: as published, or as the tools of other code bases convert them (`*_labelTrainIds.png`)."""

from pin_memory.utils.labels import CLASSES, IGNORE, label_table

TRAIN_ID_TABLE = label_table(list(range(len(CLASSES))))
"""The identity on train ids, (256,) uint8; whatever is none becomes `IGNORE`."""

TRAIN_ID_VALUES = frozenset({*range(len(CLASSES)), IGNORE})
"""What such a label may hold."""
