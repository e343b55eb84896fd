"""Finished episodes as files, for whoever wants to learn from them elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rolemarl_jax.bridge.collect import Episode
from rolemarl_jax.bridge.config import BridgeConfig
from rolemarl_jax.bridge.pool.pool import Pool
from rolemarl_jax.config import build
from rolemarl_jax.disk import files, lock
from rolemarl_jax.run_config import RunConfig


@contextmanager
def held(cfg: RunConfig) -> Iterator[None]:
    """Keeps the folder of recordings, if there is one, for this process.

    Raises:
        ConfigError: another process records there; or keys of the bridge are wrong.
    """
    folder = build(BridgeConfig, cfg.bridge, "bridge").record
    if folder is None:
        yield
        return
    with lock.held(folder, "bridge.record"):
        yield


class Recorder:
    """Writes ``<folder>/<id>.npz``, or nothing without a folder.

    Ids go on behind the highest one in the folder, so nothing there is replaced.
    """

    def __init__(self, folder: str | None, pool: Pool, begun: int) -> None:
        """Episodes from ``begun + 1`` on will be written."""
        self._folder = None if folder is None else Path(folder)
        self._pool = pool
        self._shift = max(0, _highest(self._folder) - begun)

    def write(self, episode: Episode) -> None:
        """One file: all arrays, and worker, seed, ``terminated``, ``won``."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        number = episode.id + self._shift
        values = {**episode._asdict(), "id": number}
        seed = self._pool.slots[episode.worker].seeds[-1]
        path = self._folder / f"{number:08d}.npz"
        with files.replacing(path) as scratch, scratch.open("wb") as file:
            np.savez_compressed(file, seed=seed, **values)


def _highest(folder: Path | None) -> int:
    """The highest id of a file in a folder, 0 if there is none."""
    found = [] if folder is None else folder.glob("*.npz")
    return max((int(path.stem) for path in found if path.stem.isdigit()), default=0)
