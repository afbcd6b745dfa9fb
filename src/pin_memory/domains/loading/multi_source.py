"""Several source domains to train on and unseen target domains to test on."""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Protocol

from lightning import LightningDataModule
from lightning.pytorch.utilities import CombinedLoader

from pin_memory.domains.loading import compatibility
from pin_memory.domains.loading.bad_samples import over_processes
from pin_memory.domains.loading.data_module import DomainDataModule, normalized
from pin_memory.domains.loading.loader import SourceLoader
from pin_memory.domains.loading.parallel import usable_cpus
from pin_memory.domains.loading.transforms import MetaTestAugmentation, Split, TrainTransform
from pin_memory.domains.readers.draws import Transform
from pin_memory.domains.readers.layouts import Images
from pin_memory.utils.distributed import rank, world_size
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.labels import CITYSCAPES, LabelSpace


class Preparation(Protocol):
    """What makes data before they are read, such as `pin_memory.domains.stand_ins.StandIns`."""

    root: Path

    def is_there(self) -> bool:
        """Whether the data are there already."""

    def prepare(self) -> bool:
        """Make the data unless they are there; returns whether anything was made."""


class MultiSourceDataModule(LightningDataModule):
    """Source domains, each with its own mini-batch in every training step, and target domains, which only tests see.

    A training batch is a dictionary from the source's name to its mini-batch of "image", "label" and "name". Validation runs over the
    sources one after the other, a test over the targets.

    Args:
        sources: The source domains by name.
        targets: The target domains by name.
        stand_in: Draws stand-ins for the data sets in `prepare_data`.
        validate: Sources (or the one source) to validate on; by default all. For a data set that is listed twice with different
            augmentations.
        split: The method's split of the sources, which `meta_test_augmentation` goes by; None where the method does not split.
        meta_test_augmentation: For sources on the meta-test side of an iteration, in place of their own; crop, scale and flip stay.
        views: Sources that are further views of another one, there to be split; left out where the method does not split.

    Raises:
        ConfigurationError: Names or classes of the domains do not fit together, or `validate` or `views` name what is no source.
    """

    unit: ClassVar[str] = "images"  # what validations and tests count

    def __init__(
        self,
        sources: Mapping[str, DomainDataModule] | None = None,
        targets: Mapping[str, DomainDataModule] | None = None,
        stand_in: Preparation | None = None,
        validate: str | Sequence[str] | None = None,
        split: Split | None = None,
        meta_test_augmentation: Transform | None = None,
        views: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.sources, self.targets = dict(sources or {}), dict(targets or {})
        for place, domains in (("sources", self.sources), ("targets", self.targets)):
            compatibility.require_data_sets(domains, place)
        if meta_test_augmentation is not None and split is None:
            reason = "methods that split their sources, such as mldg; this one has no meta-test side (data.split is null)"
            raise ConfigurationError(f"data.meta_test_augmentation is for {reason}. Leave it out.")
        self.stand_in, self.split, self.meta_test_augmentation = stand_in, split, meta_test_augmentation
        compatibility.require_sources("views", views, self.sources)
        if split is None:
            self.sources = {name: domain for name, domain in self.sources.items() if name not in views}
        compatibility.require_unseen(self.sources, self.targets)
        compatibility.require_one_label_space(self.sources | self.targets)
        compatibility.require_one_crop(self.sources)
        self.validation_names = [validate] if isinstance(validate, str) else list(self.sources if validate is None else validate)
        compatibility.require_sources("validate", self.validation_names, self.sources)
        self.outputs = self.label_space  # what the network's classes stand for
        self.added: tuple[str, ...] = ()  # targets that the run of a checkpoint does not know

    @classmethod
    def leave_one_out(
        cls,
        domains: Mapping[str, DomainDataModule] | None = None,
        target: str | float = "",
        sources: Mapping[str, DomainDataModule] | None = None,
        targets: Mapping[str, DomainDataModule] | None = None,
        **options: Any,
    ) -> "MultiSourceDataModule":
        """Make one of the domains the target, which is evaluated on all of its images, and the others the sources.

        Args:
            domains: All domains by name.
            target: The name of the domain to leave out of training; a number stands for the name that reads as it (0016E5).
            sources: Further ones of them.
            targets: Further domains to test on.
            options: As in the constructor.

        Raises:
            ConfigurationError: There is no such domain.
        """
        domains = dict(domains or {}) | dict(sources or {})
        compatibility.require_data_sets(domains, "domains")
        target = compatibility.domain_named(target, domains)
        held_out = domains.pop(target)
        held_out.evaluate_whole()
        return cls(domains, {target: held_out, **(targets or {})}, **options)

    @property
    def source_names(self) -> list[str]:
        """The names of the source domains, in order."""
        return list(self.sources)

    @property
    def target_names(self) -> list[str]:
        """The names of the target domains, in order."""
        return list(self.targets)

    @property
    def test_stages(self) -> list[str]:
        """The names of the test loaders, in order."""
        return self.target_names

    @property
    def label_space(self) -> LabelSpace:
        """What the train ids stand for in all domains; the 19 Cityscapes classes when there is no domain.

        A class has the colour that the first of the domains gives it, and one that differs from the others' where none does.
        """
        spaces = [domain.label_space for domain in (*self.sources.values(), *self.targets.values())]
        return reduce(lambda colours, space: space.over(colours), reversed(spaces)) if spaces else CITYSCAPES

    def space_of(self, stage: str) -> LabelSpace:
        """The classes of a test stage in the colours to show them in: a target's own, else those of all domains."""
        own = self.targets[stage].label_space if stage in self.targets else self.outputs
        return own.over(self.outputs) if own.names == self.outputs.names else self.outputs

    @property
    def score_subsets(self) -> dict[str, tuple[str, ...]]:
        """Further means that the sources or the label space ask for: their name, and the classes they are taken over."""
        found = {name: classes for domain in self.sources.values() for name, classes in domain.score_subsets.items()}
        return {name: classes for name, classes in found.items() if set(classes) <= set(self.label_space.names)}

    @property
    def data_sets(self) -> int:
        """Number of different source data sets: parts of one count each, views of the same images once."""
        identities = [compatibility.identity(domain) for domain in self.sources.values()]
        return sum(identities.index(one) == place for place, one in enumerate(identities))

    @property
    def uses_stand_ins(self) -> bool:
        """Whether any domain is a drawn stand-in."""
        return self.stand_in is not None or any(domain.stand_in for domain in (*self.sources.values(), *self.targets.values()))

    def prepare_data(self) -> None:
        """Draw the stand-ins, if any are asked for and not there yet."""
        if self.stand_in is not None:
            self.stand_in.prepare()

    def check(self, sources: bool = True, targets: bool = True) -> None:
        """Look for all data before anything heavy starts; nothing is decoded. Stand-ins have to be drawn before (`prepare_data`).

        Args:
            sources: Look for the training and validation data of the sources.
            targets: Look for the test data of the targets.

        Raises:
            DataError: One error for everything that is missing or unusable, with where to get it.
            ConfigurationError: A source trains or validates on images that a target is evaluated on.
        """
        problems: dict[str, DataError] = {}
        trained, evaluated = dict[str, Images](), dict[str, Images]()
        sides = ((sources, self.sources, ("train", "val"), trained), (targets, self.targets, ("test",), evaluated))
        for wanted, domains, splits, images in sides:
            for name, domain in domains.items() if wanted else ():
                try:
                    images[name] = domain.check(splits)
                except DataError as error:
                    problems.setdefault(name, error)
        if problems:
            raise DataError(compatibility.report(problems))
        compatibility.require_unseen_images(trained, evaluated)
        compatibility.report_trained_validation({name: self.sources[name] for name in trained})

    def check_shares(self, processes: int, targets: bool = True) -> None:
        """Refuse, before hours of training, so many processes that one of them would have no image to evaluate."""
        if processes > 1:
            for name in self.validation_names:
                self.sources[name].evaluated("val", processes)
            for domain in self.targets.values() if targets else ():
                domain.evaluated("test", processes)

    def train_dataloader(self, extra_pass: int | None = None) -> SourceLoader:
        """One mini-batch of each source for every iteration from the one that the Trainer is at, without an end.

        `extra_pass` is as in `DomainDataModule`. All sources together start no more loading processes than there are CPUs.
        """
        compatibility.require_any(self.sources, "source")
        loaders = {}
        for name, domain in self.sources.items():
            domain.trainer = self.trainer
            workers = min(domain.loading.workers, max(1, usable_cpus() // len(self.sources)))
            loaders[name] = domain.train_dataloader(name, self._augmentation(name), workers, extra_pass)
        return SourceLoader(loaders)

    def source_pass(self, number: int) -> Iterator[dict[str, dict[str, Any]]]:
        """One pass over the sources outside of the iterations, with its own draws: the batches that draw the largest source once."""
        sources = self.train_dataloader(number)
        lengths = [len(loader.domain) // (loader.sampler.batch_size * world_size()) for loader in sources.loaders.values()]
        yield from islice(sources, max(1, *lengths))

    def bad_samples(self) -> dict[str, dict[str, Any]]:
        """The training samples that could not be read and were left out so far, over all processes, which all have to ask.

        `{source: {"samples": sorted names, "draws": how often another sample took a place}}`, without sources that have none.
        """
        return over_processes({name: domain.bad_samples for name, domain in self.sources.items()})

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the data: the bad samples met so far; Lightning asks for it in each process."""
        kept = {name: {"names": bad["samples"], "draws": bad["draws"]} for name, bad in self.bad_samples().items()}
        return {"bad_samples": kept} if kept else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the count: all processes know the names, so that none is reported again, the first one alone has the draws of all."""
        for name, state in state_dict.get("bad_samples", {}).items():
            if name in self.sources:
                self.sources[name].bad_samples.load_state_dict(state if rank() == 0 else {**state, "draws": 0})

    def _augmentation(self, name: str) -> Transform:
        """The augmentation of a source, by side where that is asked for."""
        own, harder = self.sources[name].augmentation, self.meta_test_augmentation
        if harder is None or self.split is None:
            return own
        if isinstance(own, TrainTransform) and isinstance(harder, TrainTransform):
            harder = harder.with_geometry_of(own)
        return MetaTestAugmentation(own, harder, self.split, tuple(self.sources), name)

    def val_dataloader(self) -> CombinedLoader:
        """The sources' validation images, source by source, one by one."""
        compatibility.require_any(self.sources, "source")
        return CombinedLoader({name: self.sources[name].val_dataloader() for name in self.validation_names}, "sequential")

    def test_dataloader(self) -> CombinedLoader:
        """The targets' test images, target by target, one by one at their native size."""
        compatibility.require_any(self.targets, "target")
        return CombinedLoader({name: domain.test_dataloader() for name, domain in self.targets.items()}, "sequential")

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Normalise images on the device, where they have come as bytes."""
        return normalized(batch, self.trainer)
