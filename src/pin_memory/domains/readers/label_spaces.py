"""A label space that several data sets share, though their labels have other classes: class lists and maps, as YAML gives them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pin_memory.domains.readers.folder_options import label_space_of
from pin_memory.utils.errors import ConfigurationError, first_names
from pin_memory.utils.labels import IGNORE, ClassNames, LabelSpace, label_table
from pin_memory.utils.names import near_match

IGNORED = "ignore"
"""In a map, stands for the classes of a data set that are no class of the label space."""


@dataclass(frozen=True)
class SharedLabelSpace:
    """Classes that data sets are mapped to, so that one network can be trained and evaluated on all of them.

    A data set without a map keeps its own train ids where its classes are those of the label space, and is matched by name where all of its
    classes are in it.

    Attributes:
        classes: Names; the position is the train id.
        num_classes: Their number, which the network takes from here.
        colours: To show the classes in, `{name: [red, green, blue]}`; distinct ones for the others, and those of the 19 Cityscapes classes.
        maps: By data set, the names of its classes that become each class, and those that are ignored: `{camvid: {sky: [sky], ignore:
            [fence]}}`. A map names every class of the data set.
        subsets: Further means to report, by name, over some of the classes: `{miou9: [sky, ...]}`.

    Raises:
        ConfigurationError: A name is none of the classes or comes twice in a map, or the number is another one.
    """

    classes: Sequence[str]
    num_classes: int
    colours: Mapping[str, Sequence[int]] | None = None
    maps: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    subsets: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, before any data are looked for."""
        if len(self.classes) != self.num_classes:
            raise ConfigurationError(f"label_space.num_classes={self.num_classes}, but label_space.classes names {len(self.classes)}.")
        classes = self.space.names
        places = {f"maps.{data_set}": by_class for data_set, by_class in self.maps.items()}
        named = [(place, name) for place, by_class in places.items() for name in by_class if name != IGNORED]
        named += [(f"subsets.{subset}", name) for subset, names in self.subsets.items() for name in names]
        for place, name in named:
            if name not in classes:
                expected = f"expected {', '.join(classes)}{f' or {IGNORED}' if place in places else ''}"
                raise ConfigurationError(f"label_space.{place}: {name!r} is no class; {expected}.{near_match(name, classes)}")
        for place, by_class in places.items():
            listed = [name for names in by_class.values() for name in names]
            if twice := [name for name in listed if listed.count(name) > 1]:
                raise ConfigurationError(
                    f"label_space.{place}: {twice[0]!r} comes twice; a class of a data set becomes one class or is ignored."
                )

    @cached_property
    def space(self) -> LabelSpace:
        """Names and colours of the classes."""
        return label_space_of(self.classes, self.colours, None)

    def table(self, own: ClassNames, title: str) -> np.ndarray:
        """The train id of each raw id of a data set, (256,) uint8.

        Args:
            own: What the raw ids stand for.
            title: Of the data set, for messages.

        Raises:
            ConfigurationError: There is no map for the data set, or it leaves one of its classes out.
        """
        by_class = self.maps.get(own.data_set, {name: [name] for name in self.space.names})
        becomes = {name: target for target, names in by_class.items() for name in names}
        if missing := [name for name in dict.fromkeys(own.by_id.values()) if name not in becomes]:
            raise ConfigurationError(
                f"{title}: label_space.maps.{own.data_set} does not say what becomes of {first_names(missing)}: name a class for each,"
                f" or list it as {IGNORED}. The classes are {', '.join(self.space.names)}.{near_match(missing[0], becomes)}"
            )
        ids = {name: train_id for train_id, name in enumerate(self.space.names)} | {IGNORED: IGNORE}
        return label_table({raw: ids[becomes[name]] for raw, name in own.by_id.items()})
