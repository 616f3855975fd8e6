"""A file is whole or as it was before, and damage is told by name."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from driving.files import atomic_writer, read_json, write_bytes, write_json, write_text

VALUE = {"speeds": list(range(200)), "town": "Mini01"}


@pytest.mark.parametrize("name", ["value.json", "value.json.gz", "new/folder/value.json"])
def test_reading_gives_what_was_written(tmp_path: Path, name: str) -> None:
    write_json(tmp_path / name, VALUE)
    assert read_json(tmp_path / name) == VALUE


def test_equal_values_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.json.gz", "b.json.gz"):
        write_json(tmp_path / name, VALUE)
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()


def test_an_error_while_writing_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "value.txt"
    write_text(path, "old")
    with pytest.raises(TypeError), atomic_writer(path) as stream:
        stream.writelines([b"half of the new", "not bytes"])  # type: ignore[list-item]
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("value.txt", "old")]


def test_a_disk_that_fills_up_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "value.txt"
    write_text(path, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            write_bytes(path, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("value.txt", "old")]


@pytest.mark.parametrize("name", ["value.json", "value.json.gz"])
def test_every_truncation_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_json(path, VALUE)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=name):
            read_json(path)


def test_a_compressed_file_with_a_damaged_byte_is_refused_by_name_or_unharmed(tmp_path: Path) -> None:
    path = tmp_path / "value.json.gz"
    write_json(path, VALUE)
    content = path.read_bytes()
    messages = []
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            assert read_json(path) == VALUE
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 0.9 * len(content)
    assert all(path.name in message for message in messages)
