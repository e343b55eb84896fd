"""Which rows the files of an offline wandb run hold.

wandb writes them through a buffer, so that a process that was killed leaves fewer rows
than it has sent. Behind a header of seven bytes a file is a LevelDB log: blocks of
32 KiB, and in them the pieces of records, which are protobuf messages.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER = 7  # bytes before the first block's first piece, part of that block
BLOCK = 2**15
PIECE = struct.Struct("<IHB")  # checksum, bytes, which piece of its record
WHOLE, LAST = 1, 4


def last_env_steps(folder: Path, run_id: str) -> int:
    """Env steps of the newest row of a run, over all files of its processes.

    Args:
        folder: where wandb keeps its runs.
        run_id: of the run.

    Returns:
        -1 where no row is there.
    """
    paths = folder.glob(f"offline-run-*-{run_id}/run-{run_id}.wandb")
    return max((steps for path in paths for steps in _env_steps(path)), default=-1)


def _env_steps(path: Path) -> Iterator[int]:
    """Env steps of the rows of a file, up to where it was cut short."""
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2  # slow to import

    message: Any = wandb_internal_pb2
    for data in records(path.read_bytes()):
        record = message.Record()
        try:
            record.ParseFromString(data)
        except DecodeError:
            return
        for item in record.history.item:
            if "env_steps" in (item.key, *item.nested_key):
                yield int(json.loads(item.value_json))


def records(data: bytes) -> Iterator[bytes]:
    """The records of a log, up to where it was cut short."""
    at, parts = HEADER, []
    while at + PIECE.size <= len(data):
        left = BLOCK - at % BLOCK
        if left < PIECE.size:
            at += left  # too little for a piece: zeros
            continue
        _, size, kind = PIECE.unpack_from(data, at)
        at += PIECE.size
        parts.append(data[at : at + size])
        at += size
        if at > len(data) or not kind:
            return
        if kind in (WHOLE, LAST):
            yield b"".join(parts)
            parts = []
