"""Files that are complete or absent."""

import os
from pathlib import Path

import pytest

from pin_memory.utils.files import TEMPORARY, atomic_write, file_name, write_text


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_write(tmp_path / "a" / "b.txt") as temporary:
            temporary.write_text("new")
            assert temporary.suffix == ".txt"
            assert list(temporary.parent.glob(TEMPORARY)) == [temporary]
            raise ZeroDivisionError

    write_text(tmp_path / "a" / "b.txt", "old")
    with pytest.raises(ZeroDivisionError):
        fail()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]
    assert (tmp_path / "a" / "b.txt").read_text() == "old"


def test_files_have_the_users_mode_and_the_umask_is_never_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to the process: two threads that read it by setting it can leave it at 0."""
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", lambda _: pytest.fail("the umask was set"))
            write_text(tmp_path / "a.txt", "a")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../x", "___.._x"),
        ("/etc/x", "_etc_x"),
        ("..", "__"),
        (".hidden", "_hidden"),
        ("a\\b", "a_b"),
        ("", "_"),
        ("a.b-c d", "a.b-c d"),
    ],
)
def test_names_are_one_part_of_a_path(name: str, safe: str, tmp_path: Path) -> None:
    assert file_name(name) == safe
    assert (tmp_path / file_name(name)).resolve().parent == tmp_path.resolve()
