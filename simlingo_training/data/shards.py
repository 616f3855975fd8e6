"""A data set packed into a few large files, for network file systems that are slow with millions of small ones.

    python -m simlingo_training.data.shards --data database/simlingo --out database/simlingo_packed
    python train.py experiment=simlingo_seed1 data.root=database/simlingo_packed

A packed data set holds the index, plain tar files (``shard-00000.tar`` and so on, which ``tar -xf`` unpacks to the original
tree), and ``files.npy`` with the place of every file in them. The loader reads single files from the tars; samples are the same.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from driving.arguments import add_dataset_root
from driving.files import atomic_writer, read_json, write_json
from driving.records import LABEL_KINDS
from simlingo_training.data.table import INDEX, REMAKE, TableOptions, read_index

PLACES = "files.npy"
SUMMARY = "shards.json"
FORMAT = 1

PLACE = np.dtype([("key", np.uint64), ("offset", np.int64), ("size", np.int32), ("shard", np.int32)])
"""Where a file lies: hash of its path below the root, first byte and length in which shard. Sorted by key."""


class Files(Protocol):
    """Where the loader reads from."""

    def read(self, path: Path) -> bytes:
        """Content of a file below the data root. Raises FileNotFoundError if there is none."""
        ...

    def stamp(self, path: Path) -> str:
        """Changes when the file changes."""
        ...


class PlainFiles:
    """Files as they were recorded."""

    def read(self, path: Path) -> bytes:
        """See `Files`."""
        return path.read_bytes()

    def stamp(self, path: Path) -> str:
        """See `Files`."""
        return f"{path.resolve()}|{path.stat().st_mtime_ns}"


class PackedFiles:
    """Files in shards. Processes that were forked may read at the same time: every read names its place."""

    def __init__(self, root: Path) -> None:
        """Map the list of places. Raises ValueError if it is of another format."""
        summary = read_json(root / SUMMARY)
        if summary.get("format") != FORMAT:
            raise ValueError(f"{root / SUMMARY}: format {summary.get('format')}, this code reads {FORMAT}; pack again")
        self.root = root
        self._places = np.load(root / PLACES, mmap_mode="r", allow_pickle=False)
        self._keys = self._places["key"]
        self._made = f"{root.resolve()}|{(root / PLACES).stat().st_mtime_ns}"
        self._open: dict[int, int] = {}

    def _place(self, path: Path) -> NDArray[np.void]:
        key = key_of(path.relative_to(self.root).as_posix())
        number = int(np.searchsorted(self._keys, key))
        if number == len(self._keys) or self._keys[number] != key:
            raise FileNotFoundError(f"{path}: not in the shards of {self.root}; pack the data set again")
        place: NDArray[np.void] = self._places[number]
        return place

    def read(self, path: Path) -> bytes:
        """See `Files`."""
        place = self._place(path)
        shard = int(place["shard"])
        if shard not in self._open:
            self._open[shard] = os.open(self.root / shard_name(shard), os.O_RDONLY)
        content = os.pread(self._open[shard], int(place["size"]), int(place["offset"]))
        if len(content) != place["size"]:
            raise ValueError(f"{self.root / shard_name(shard)}: cut off; copy or pack the data set again")
        return content

    def stamp(self, path: Path) -> str:
        """See `Files`."""
        place = self._place(path)
        return f"{self._made}|{int(place['shard'])}|{int(place['offset'])}|{int(place['size'])}"


def open_files(root: Path) -> Files:
    """The reader for a data root, packed or not."""
    return PackedFiles(root) if (root / SUMMARY).is_file() else PlainFiles()


def key_of(name: str) -> np.uint64:
    """Hash of a path below the root."""
    return np.frombuffer(blake2b(name.encode(), digest_size=8).digest(), np.uint64)[0]


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}.tar"


def files_to_pack(root: Path) -> Iterator[Path]:
    """Pictures and labels of every indexed run, run by run."""
    # Two frames less than the loader leaves out at the end of a run are none: every run with a picture is packed.
    table = read_index(root, TableOptions(skip_first=0, pred_len=-2, filter_results=False))
    for run in table.runs:
        folders = [run.path / name for name in ("rgb", "rgb_augmented", "boxes")]
        folders += [run.label_folder(kind) for kind in LABEL_KINDS.values()]
        for folder in folders:
            if folder.is_dir():
                yield from sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def pack(root: Path, out: Path, shard_bytes: int) -> int:
    """Pack a data set.

    Args:
        root: Data root with an index.
        out: Folder of the packed data set, made.
        shard_bytes: A shard is closed when it is that long.

    Returns:
        The number of files packed.

    Raises:
        FileNotFoundError: If there is no index.
        ValueError: If the index cannot be read, two paths have one hash, or ``out`` is the data set itself.
    """
    if not (root / INDEX).is_file():
        raise FileNotFoundError(f"{root / INDEX}: no such file; {REMAKE}")
    if out.resolve() == root.resolve():
        raise ValueError(f"{out}: the packed data set needs a folder of its own")
    out.mkdir(parents=True, exist_ok=True)
    (out / SUMMARY).unlink(missing_ok=True)
    places: list[tuple[int, int, int, int]] = []
    # One iterator for all shards: a loop that leaves it early must not end it.
    waiting = iter(tqdm(files_to_pack(root), desc="pack", unit="file"))
    shard, more = 0, True
    while more:
        more = write_shard(root, out / shard_name(shard), shard, waiting, places, shard_bytes)
        shard += 1
    rows = np.sort(np.array(places, dtype=PLACE), order="key")
    if (rows["key"][1:] == rows["key"][:-1]).any():
        raise ValueError(f"{root}: two files with one hash; rename a run")
    with atomic_writer(out / PLACES) as stream:
        np.save(stream, rows, allow_pickle=False)
    shutil.copyfile(root / INDEX, out / INDEX)
    write_json(out / SUMMARY, {"format": FORMAT, "files": len(rows), "shards": shard})
    return len(rows)


def write_shard(
    root: Path,
    path: Path,
    number: int,
    waiting: Iterator[Path],
    places: list[tuple[int, int, int, int]],
    shard_bytes: int,
) -> bool:
    """Write one tar file until it is full, noting places; False when nothing is left."""
    partial = path.with_name(f".{path.name}.tmp")
    full = False
    with tarfile.open(partial, "w", format=tarfile.GNU_FORMAT) as tar:
        for source in waiting:
            name = source.relative_to(root).as_posix()
            member = tar.gettarinfo(str(source.resolve()), arcname=name)
            with source.open("rb") as stream:
                tar.addfile(member, stream)
            blocks = -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            places.append((int(key_of(name)), tar.offset - blocks, member.size, number))
            full = tar.offset >= shard_bytes
            if full:
                break
    partial.replace(path)
    return full


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Exit codes: 0 done, 2 no data set."""
    parser = argparse.ArgumentParser(
        prog="python -m simlingo_training.data.shards",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset_root(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the packed data set")
    parser.add_argument("--shard-gb", type=float, default=1.0, help="gigabytes of one file (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        count = pack(options.data, options.out, int(options.shard_gb * 1e9))
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {count} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
