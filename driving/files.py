"""Writing files so that a crash leaves either the old content or the new, never half of it."""

from __future__ import annotations

import gzip
import json
import os
import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_names = random.Random()
"""Names temporary files, together with the process id: forked processes draw equal numbers, hosts have equal ids."""


@contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` and rename it to ``path`` when the block ends without an error.

    Parent folders are made. On an error the temporary file is removed and an existing ``path`` stays as it was.
    """
    target = os.fspath(path)
    folder, base = os.path.split(target)
    name = os.path.join(folder, f".{base}.{os.getpid()}-{_names.getrandbits(48):012x}.tmp")
    try:
        descriptor = os.open(name, _NEW, 0o644)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        descriptor = os.open(name, _NEW, 0o644)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_bytes(path: str | os.PathLike[str], content: bytes | memoryview) -> None:
    """Write bytes atomically."""
    with atomic_writer(path) as stream:
        stream.write(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: Any, indent: int | None = 2) -> None:
    """Write one JSON value atomically; a name that ends in ``.gz`` is compressed without a time stamp, so that equal
    values give equal bytes."""
    content = json.dumps(value, indent=indent).encode("utf-8")
    write_bytes(path, gzip.compress(content, compresslevel=6, mtime=0) if str(path).endswith(".gz") else content)


def file_hash(path: str | os.PathLike[str]) -> str | None:
    """SHA-256 of a file, or None when there is none."""
    return sha256(Path(path).read_bytes()).hexdigest() if Path(path).is_file() else None


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read one JSON value, compressed if the name ends in ``.gz``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is truncated or not JSON; the message names the file.
    """
    return parse_json(Path(path).read_bytes(), path)


def parse_json(content: bytes, path: str | os.PathLike[str]) -> Any:
    """One JSON value from the content of a file, compressed if its name ends in ``.gz``.

    Raises:
        ValueError: If the content is truncated or not JSON; the message names the file.
    """
    try:
        if str(path).endswith(".gz"):
            content = gzip.decompress(content)
        return json.loads(content)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(
            f"{path}: expected one complete JSON value, got {len(content)} bytes that do not parse: {error}"
        ) from error
