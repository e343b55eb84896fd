"""Finished episodes as files, for whoever wants to learn from them elsewhere."""

from pathlib import Path

import numpy as np

from rolemarl_jax.bridge.collect import Episode
from rolemarl_jax.bridge.pool.pool import Pool
from rolemarl_jax.disk import files


class Recorder:
    """Writes ``<folder>/<id>.npz``, or nothing without a folder."""

    def __init__(self, folder: str | None, pool: Pool) -> None:
        self._folder = None if folder is None else Path(folder)
        self._pool = pool

    def write(self, episode: Episode) -> None:
        """One file: all arrays, and worker, seed, ``terminated``, ``won``."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        values = episode._asdict()
        seed = self._pool.slots[episode.worker].seeds[-1]
        path = self._folder / f"{episode.id:08d}.npz"
        with files.replacing(path) as scratch, scratch.open("wb") as file:
            np.savez_compressed(file, seed=seed, **values)
