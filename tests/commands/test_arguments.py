"""Arguments that are read from the source of a class are those that Python finds when it is imported."""

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object

from pin_memory.cli import arguments as module
from pin_memory.cli.arguments import arguments
from pin_memory.cli.sources import tree
from pin_memory.utils.config import config_directory

TARGETS = sorted({target for path in config_directory().rglob("*.yaml") for target in re.findall(r"_target_: ([\w.]+)", path.read_text())})
OTHERS = ("torch.nn.Conv2d", "torch.optim.NAdam", "torch.optim.lr_scheduler.OneCycleLR", "lightning.pytorch.loggers.CSVLogger")
OWN = {
    "__init__.py": "from .parts import Part as Renamed\nfrom own_models.deep import *\nfrom own_models.circle import Lost\n",
    "parts.py": """
        import torch
        from typing import Generic, TypeVar
        from typing import overload
        from .mixed import Base, Left, Right
        T = TypeVar("T")
        class Part(Left, Right, Generic[T]):
            def __init__(self, own, *more, last=1, **kwargs): super().__init__(**kwargs)
            @classmethod
            def made(cls, path, **kwargs): return cls(**kwargs)
            def plain(self, x): return x
            @staticmethod
            def free(name, **kwargs): return kwargs
        class Layer(torch.nn.Module):
            def __init__(self, width, **kwargs): super().__init__(**kwargs)
        class Loose(Nowhere):
            def __init__(self, a, **kwargs): super().__init__(**kwargs)
        class Elsewhere(Base):
            def __init__(self, a, **kwargs):
                super().__init__()
                self.kept = dict(**kwargs)
        def build(size, /, depth=2, *, wide=False): return size
        def anything(**kwargs): return kwargs
        @overload
        def either(a): ...
        @overload
        def either(b): ...
        def either(a=0, b=0): return a
    """,
    "mixed.py": """
        from dataclasses import dataclass, field
        class Base:
            def __init__(self, base=0): self.base = base
        class Left(Base):
            def __init__(self, left=0, **kwargs): super().__init__(**kwargs)
        class Right(Base):
            def __init__(self, right=0, **kwargs): super().__init__(**kwargs)
        @dataclass
        class Settings:
            first: int = 1
            hidden: int = field(default=2, init=False)
        @dataclass(frozen=True)
        class More: other: float = 0.5
        if True:
            @dataclass
            class All(Settings): second: str = ""
        @dataclass
        class Own(Settings):
            def __init__(self, mine): self.mine = mine
        @dataclass(init=False)
        class None_(Settings): x: int = 0
        @dataclass
        class Odd(Nowhere): x: int = 0
    """,
    "odd.py": """
        from abc import ABC
        from collections.abc import Sized
        from .mixed import Base
        class Two(Sized, Unresolved, ABC): pass
        class Plain(Base, ABC): pass
        class Mixed(Unresolved, Base): pass
        class Fresh(Base):
            def __new__(cls, x): return super().__new__(cls)
        class Assigned(Base): __init__ = print
        @decorated
        class Changed(Base): pass
        class Meta(Base, metaclass=type): pass
        class Keyed(dict, Base): pass
        class Tangled(Base, Plain): pass
        if Base:
            class Either(Base):
                def __init__(self, a): pass
        else:
            class Either(Base):
                def __init__(self, b): pass
    """,
    "data.py": """
        from typing import ClassVar
        from pin_memory.domains import FolderDataModule
        class Reader:
            def __init__(self, root, split, transform=None, *, colour="red"): pass
        class Annotated(FolderDataModule):
            reader: ClassVar[type] = Reader
        class Named(FolderDataModule):
            reader = Reader
            @classmethod
            def option_names(cls): return ["else"]
    """,
    "circle.py": "from own_models import Lost\n",
    "broken.py": "class Bad(:\n",
}


def signature(target: str) -> set[str] | None:
    """The same by importing: the arguments of a class method and of each constructor, as long as the one before passes on more."""
    found: Any = get_object(target)
    owner = getattr(found, "__self__", found)
    made = [vars(one)["__init__"] for one in inspect.getmro(owner) if "__init__" in vars(one)] if inspect.isclass(owner) else []
    names: set[str] = set()
    for function in ([] if found is owner and made else [found]) + made:
        parameters = inspect.signature(function).parameters.values()
        names |= {one.name for one in parameters if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)} - {"self"}
        if hasattr(owner, "option_names"):
            return names | set(owner.option_names())
        if episode := getattr(owner, "episode", None):
            return names | set(inspect.signature(episode).parameters)
        if not any(one.kind == one.VAR_KEYWORD for one in parameters):
            return names
    return None


@pytest.mark.parametrize("target", [*TARGETS, *OTHERS])
def test_arguments_are_those_of_the_signatures(target: str) -> None:
    pytest.importorskip(target.partition(".")[0])
    if target.startswith("hydra_plugins.pin_memory_optuna"):
        pytest.importorskip("optuna")
    found = arguments(target)
    assert found is not None
    assert found == signature(target)


@pytest.fixture
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of a user, which stands where Python finds it."""
    (tmp_path / "own_models" / "deep").mkdir(parents=True)
    for name, text in OWN.items():
        (tmp_path / "own_models" / name).write_text(inspect.cleandoc(text) + "\n")
    (tmp_path / "own_models" / "deep" / "__init__.py").write_text("class Deep:\n    def __init__(self, depth): self.depth = depth\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(module, "_FOUND", {})
    tree.cache_clear()


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("Renamed", {"own", "last", "left", "right", "base"}),  # in the order of methods: Left, Right, Base
        ("parts.Part.made", {"path", "own", "last", "left", "right", "base"}),
        ("parts.build", {"size", "depth", "wide"}),
        ("parts.either", {"a", "b"}),
        ("parts.Part.free", None),
        ("parts.Elsewhere", None),  # what it does with the rest is not known
        ("mixed.Own", {"mine"}),
        ("mixed.None_", None),
        ("mixed.Odd", None),
        ("odd.Plain", {"base"}),
        *((f"odd.{name}", None) for name in ("Two", "Mixed", "Fresh", "Assigned", "Changed", "Meta", "Keyed", "Tangled", "Either")),
        ("data.Annotated", {"root", "augmentation", "loading", "view", "corruption", "colour"}),
        ("data.Named", None),
        ("mixed.All", {"first", "second"}),
        ("mixed.More", {"other"}),
        ("Deep", {"depth"}),  # of `import *`
        ("parts.Layer", None),  # torch's modules pass on anything
        ("parts.Loose", None),  # a base that is nowhere
        ("parts.anything", None),
        ("parts.Nothing", None),
        ("parts.Part.nothing", None),
        ("broken.Bad", None),
        ("Lost", None),  # two modules import it from each other
        ("nowhere.Nothing", None),
    ],
)
@pytest.mark.usefixtures("own_models")
def test_classes_of_ones_own_are_read_without_an_import(name: str, names: set[str] | None) -> None:
    assert arguments(f"own_models.{name}") == names
    assert "own_models" not in sys.modules


def test_what_goes_to_another_class_may_be_anything() -> None:
    """`**kwargs` of this strategy are those of torch's DistributedDataParallel."""
    assert arguments("lightning.pytorch.strategies.DDPStrategy") is None


@pytest.mark.parametrize("target", ["builtins.dict", "nowhere.Nothing", "os", "", 5, "..", "torch.optim.SGD.nothing"])
def test_what_takes_anything_or_is_not_there_is_left_to_its_own_errors(target: Any) -> None:
    assert arguments(target) is None
