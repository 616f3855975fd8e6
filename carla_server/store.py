"""Keeps on disk what takes long to build from a town, so that the next server starts at once.

An entry is one file: a small head, a pickle of the objects, and their arrays one after another. From a pickle nothing is
made but arrays and objects of the classes that towns are built of, so that an entry of somebody else runs no code. Arrays
are mapped, not read: servers of one machine share their memory, and a start touches only what it uses. Entries lie in the
user's own cache folder (``$XDG_CACHE_HOME/simlingo/towns``, else ``~/.cache/simlingo/towns``), are named after the town and
the hash of everything they depend on, and may be deleted at any time.
"""

from __future__ import annotations

import functools
import hashlib
import io
import logging
import mmap
import os
import pickle
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import scipy

log = logging.getLogger(__name__)

Built = TypeVar("Built")

#: Parts of this program that the scenery of a town is built by.
SCENERY = ("map", "sensors")
#: Entries of a kind kept per town; older ones belong to programs that were changed since.
KEPT_PER_TOWN = 2
#: Arrays begin at multiples of this, bytes.
ALIGNMENT = 64
_MAGIC = b"SIMLTOWN"
#: Magic, number of arrays, length of the pickle; then the lengths of the arrays.
_HEAD = struct.Struct("<8sQQ")
_LENGTH = struct.Struct("<Q")
#: What pickles of arrays name.
_OF_ARRAYS = frozenset(
    {
        *(("numpy", "dtype"), ("numpy", "ndarray"), ("numpy._core.numeric", "_frombuffer")),
        ("numpy._core.multiarray", "_reconstruct"),
    }
)


class _Entry(pickle.Unpickler):
    """Reads the pickle of an entry.

    Args:
        body: The pickle.
        arrays: What lies beside it.
        parts: Packages of this program whose classes it may name.
    """

    def __init__(self, body: memoryview, arrays: list[memoryview], parts: tuple[str, ...]) -> None:
        super().__init__(io.BytesIO(body), buffers=arrays)
        self._modules = tuple(f"{__package__}.{part}." for part in parts)

    def find_class(self, module: str, name: str) -> Any:
        """What the pickle names. Raises UnpicklingError unless towns are made of it."""
        if (module, name) in _OF_ARRAYS:
            return super().find_class(module, name)
        found = super().find_class(module, name) if module.startswith(self._modules) else None
        if not isinstance(found, type) or found.__module__ != module:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no town is made of")
        return found


def folder() -> Path:
    """Where entries lie."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "simlingo" / "towns"


def kept(
    name: str, text: str, build: Callable[[], Built], kind: str = "town", parts: tuple[str, ...] = SCENERY
) -> Built:
    """What `build` makes from a town, from disk if it was built before.

    Args:
        name: Town.
        text: All that the result depends on, besides the name and this program.
        build: Makes it; its result must be picklable.
        kind: What of the town it is; a word.
        parts: Packages of this program that build it: when they change, so may it.

    Returns:
        The built thing. Its arrays may be written to; that changes neither the entry nor what others see.
    """
    key = hashlib.sha256(f"{_program(parts)}\0{name}\0{text}".encode()).hexdigest()[:24]
    path = folder() / f"{name}-{key}.{kind}"
    found: Built | None = _read(path, parts)
    if found is None:
        found = build()
        try:
            _write(path, found)
            _tidy(path, name, kind)
        except OSError as error:
            log.warning("cannot keep the built town %s in %s: %s; the next start builds it again", name, path, error)
    return found


@functools.cache
def _program(parts: tuple[str, ...]) -> str:
    """Hash of the code that builds, and the versions of the libraries it uses."""
    sources = sorted(path for part in parts for path in (Path(__file__).parent / part).glob("*.py"))
    content = b"\0".join(path.read_bytes() for path in sources)
    return f"{hashlib.sha256(content).hexdigest()} {np.__version__} {scipy.__version__} {cv2.__version__} {sys.version}"


def _padded(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT


def _write(path: Path, built: object) -> None:
    """Write an entry under a temporary name, then rename it: readers see it whole or not at all."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(built, protocol=5, buffer_callback=buffers.append)
    arrays = [buffer.raw() for buffer in buffers]
    head = _HEAD.pack(_MAGIC, len(arrays), len(body)) + b"".join(_LENGTH.pack(array.nbytes) for array in arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
        try:
            for part in (memoryview(head + body), *arrays):
                file.write(part)
                file.write(b"\0" * (_padded(part.nbytes) - part.nbytes))
            file.close()
            os.replace(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _read(path: Path, parts: tuple[str, ...]) -> Any:
    """Read an entry; None if there is none or it is damaged."""
    try:
        with open(path, "rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        magic, count, size = _HEAD.unpack_from(content)
        at = _HEAD.size + count * _LENGTH.size
        lengths = [_LENGTH.unpack_from(content, _HEAD.size + k * _LENGTH.size)[0] for k in range(count)]
        end = _padded(at + size) + sum(map(_padded, lengths))
        if magic != _MAGIC or end != len(content):
            raise ValueError("it is not whole")
        view = memoryview(content)
        start, buffers = _padded(at + size), []
        for length in lengths:
            buffers.append(view[start : start + length])
            start += _padded(length)
        return _Entry(view[at : at + size], buffers, parts).load()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, struct.error, pickle.UnpicklingError, EOFError, AttributeError) as error:
        log.warning("the kept town %s cannot be used: %s; building it again", path, error)
        return None


def _tidy(path: Path, name: str, kind: str) -> None:
    """Remove a town's older entries of a kind; who has one mapped keeps it."""
    entries = sorted(path.parent.glob(f"{name}-*.{kind}"), key=lambda entry: entry.stat().st_mtime, reverse=True)
    for entry in entries[KEPT_PER_TOWN:]:
        entry.unlink(missing_ok=True)
