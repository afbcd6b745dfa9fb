"""Files that are complete or absent, and text in any encoding."""

import codecs
import os
from pathlib import Path

import pytest

from pin_memory.utils.files import TEMPORARY, atomic_write, decode_text, file_name, read_text, write_text


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


TEXT = "# Köln\nname: 東京\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF8 * 2 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        codecs.BOM_UTF16_BE + TEXT.replace("\n", "\r\n").encode("utf-16-be"),
        "\ufeff".join(TEXT.splitlines(keepends=True)).encode(),  # two files that were joined
    ],
)
def test_text_of_any_unicode_encoding_is_the_same_text(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    assert read_text(tmp_path / "a.txt") == TEXT


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("a\nKöln".encode("latin-1"), "line 2 holds the byte 0xf6, which is no UTF-8"),
        ("price: 5 €".encode("cp1252"), "line 1 holds the byte 0x80, which is no UTF-8"),
        ("東京".encode("shift_jis"), "which is no UTF-8"),
        (b"a: 1\n\0\0\0", "line 2 holds a zero byte"),
        (codecs.BOM_UTF16_LE + b"abc", "which is no UTF-16"),
    ],
)
def test_text_that_cannot_be_told_apart_is_refused_with_the_place(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        decode_text(data)
    assert "as UTF-8" in str(error.value)


@pytest.mark.parametrize("data", [b"", codecs.BOM_UTF8, b"\r\n"])
def test_a_text_of_nothing(data: bytes) -> None:
    assert not decode_text(data).strip()
