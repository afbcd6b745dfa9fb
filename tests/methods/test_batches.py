"""The split of the source domains."""

from collections import Counter

import pytest

from pin_memory.methods.batches import DomainSplit
from pin_memory.utils.errors import ConfigurationError


def test_both_sides_are_non_empty_and_together_all() -> None:
    """Every iteration deals every domain to exactly one side."""
    split = DomainSplit(seed=1)
    for iteration in range(200):
        train, test = split("abcd", iteration)
        assert train
        assert test
        assert sorted(train + test) == list("abcd")


def test_every_cut_and_every_domain_has_its_turn() -> None:
    """Sizes are uniform over 1..n-1 and so are the domains, within what 3000 draws allow."""
    split = DomainSplit(seed=2)
    splits = [split("abcd", iteration) for iteration in range(3000)]
    assert all(900 < n < 1100 for n in Counter(len(train) for train, _ in splits).values())
    assert all(1400 < n < 1600 for n in Counter(name for train, _ in splits for name in train).values())


def test_the_split_depends_on_seed_and_iteration_alone() -> None:
    """A resumed run and every rank make the same splits."""
    assert [DomainSplit(3)("abc", i) for i in range(50)] == [DomainSplit(3)("abc", i) for i in range(50)]
    assert [DomainSplit(3)("abc", i) for i in range(50)] != [DomainSplit(4)("abc", i) for i in range(50)]


def test_fixed_meta_test_side() -> None:
    """A harder copy of the one source is always meta-test."""
    assert DomainSplit(meta_test=["hard"])(["plain", "hard"], 7) == (["plain"], ["hard"])


@pytest.mark.parametrize(("domains", "meta_test"), [(["a"], None), ([], None), (["a", "b"], ["c"]), (["a", "b"], ["a", "b"])])
def test_what_cannot_be_split_is_refused(domains: list[str], meta_test: list[str] | None) -> None:
    """The message names what was found and what to do."""
    with pytest.raises(ConfigurationError, match=r"single_source_g|meta_test"):
        DomainSplit(meta_test=meta_test).check(domains)
