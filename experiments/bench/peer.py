"""QMIX of JaxMARL beside ours: env steps per busy second while learning.

Equal on both sides: the map, 16 worlds, 8 updates of 32 rows of 128 steps every 2,048
env steps, the widths of agent and mixer, double Q-learning. The peer's other settings
are those of its `ql_rnn_smax.yaml`; its evaluation during training is off. The peer
returns its whole replay, so its speed is the difference of a long and a short run.
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from experiments.bench.timing import busy_seconds
from experiments.bench.train import measured
from rolemarl_jax.config import ConfigError

FOLDER = Path("baselines") / "QLearning"
CHUNK = 2048  # env steps between two rounds of its updates
FILL = 34  # chunks after which it learns
# Hidden units: widths of the mixer and its hypernetworks, chunks that are measured.
SIZES = {64: (32, 64, 40), 512: (64, 256, 3)}
# Not its configuration file's: a name, and the rate of its own sweeps.
OWN = {"ALG_NAME": "qmix_rnn", "LR": 5e-5}
OURS = (
    *("algo=qmix", "train.worlds=16", "train.steps_per_update=256"),
    *("replay.rows=32", "replay.row_length=128", "replay.burn_in=0"),
)


def run(options: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each side and network size.

    Raises:
        ConfigError: no checkout of the peer is named, or a size that is not listed.
    """
    import jax

    path = checkout(options["peer"])
    unknown = [hidden for hidden in options["hidden"] if hidden not in SIZES]
    if unknown:
        raise ConfigError(f"hidden: got {unknown}; allowed: {sorted(SIZES)}")
    rows = []
    for hidden in options["hidden"]:
        ours = measured(as_peer(hidden, options["map"]), options["seconds"])
        # As the peer is timed: the process's own time says little of a device.
        by_cpu = jax.default_backend() == "cpu"
        speed = ours[f"env steps per {'CPU-' if by_cpu else ''}second"]
        peer = peer_speed(path, hidden, options["map"])
        rows += [
            _row("ours", options["map"], hidden, speed, speed / peer),
            _row("JaxMARL", options["map"], hidden, peer, 1.0),
        ]
    return rows


def checkout(path: str | None) -> Path:
    """The peer's checkout.

    Raises:
        ConfigError: there is none.
    """
    if path is None or not (Path(path) / FOLDER / "qmix_rnn.py").is_file():
        raise ConfigError(f"peer: got {path}; allowed: the path of a JaxMARL checkout")
    return Path(path)


def _row(who: str, world: str, hidden: int, speed: float, ratio: float) -> dict:
    return {
        "QMIX of": who,
        "map": world,
        "hidden": hidden,
        "env steps per busy second": speed,
        "ratio": ratio,
    }


def as_peer(hidden: int, world: str) -> list[str]:
    """Our command line at the peer's settings."""
    embed, hypernet, _ = SIZES[hidden]
    return [
        *OURS,
        f"env.map={world}",
        f"algo.role.hidden={hidden}",
        f"algo.mixer.embed={embed}",
        f"algo.mixer.hypernet_hidden={hypernet}",
    ]


def source(path: Path, file: str) -> str:
    """Text of one of the peer's learners."""
    return (path / FOLDER / f"{file}.py").read_text("utf8")


def module(path: Path, text: str, file: str) -> ModuleType:
    """A learner of the peer's, of a text that may differ from its file's."""
    found = ModuleType(file)
    exec(compile(text, str(path / FOLDER / f"{file}.py"), "exec"), found.__dict__)
    return found


def sizes(hidden: int) -> dict[str, int]:
    """Widths of the peer's QMIX."""
    embed, hypernet, _ = SIZES[hidden]
    return {
        "HIDDEN_SIZE": hidden,
        "MIXER_EMBEDDING_DIM": embed,
        "MIXER_HYPERNET_HIDDEN_DIM": hypernet,
    }


def settings(path: Path, name: str, world: str) -> dict[str, Any]:
    """The peer's own, with evaluation off."""
    text = (path / FOLDER / "config" / "alg" / f"{name}.yaml").read_text("utf8")
    return {
        **yaml.safe_load(text),
        "MAP_NAME": world,
        "SEED": 0,
        "TEST_DURING_TRAINING": False,
        "TEST_INTERVAL": 0.05,
        "TEST_NUM_ENVS": 16,
        "WANDB_MODE": "disabled",
        "WANDB_LOG_ALL_SEEDS": False,
    }


def compiled(peer: ModuleType, config: dict[str, Any], seeds: int) -> Callable:
    """The peer's whole training as a compiled function of its seeds' keys."""
    import jax

    config = {**copy.deepcopy(config), "NUM_SEEDS": seeds}
    env, _ = peer.env_from_config(copy.deepcopy(config))
    keys = jax.random.split(jax.random.PRNGKey(0), seeds)
    return jax.jit(jax.vmap(peer.make_train(config, env))).lower(keys).compile()


def peer_speed(path: Path, hidden: int, world: str, seeds: int = 1) -> float:
    """Env steps per second of the peer's learning part, of all seeds together."""
    steps = speed(path, hidden, world, seeds)
    next(steps)
    return next(steps) or 0.0


def speed(path: Path, hidden: int, world: str, seeds: int) -> Iterator[float | None]:
    """Compiles, yields ``None``, and then measures and yields ``peer_speed``.

    Seconds are those of a CPU's processor time, and of the clock elsewhere.
    """
    import jax

    peer = module(path, source(path, "qmix_rnn"), "qmix_rnn")
    base = {**settings(path, "ql_rnn_smax", world), **sizes(hidden), **OWN}
    totals = FILL * CHUNK, (FILL + SIZES[hidden][2]) * CHUNK
    short, long = (
        compiled(peer, {**base, "TOTAL_TIMESTEPS": total}, seeds) for total in totals
    )
    yield None
    keys = jax.random.split(jax.random.PRNGKey(0), seeds)

    def seconds(train: Callable) -> float:
        began = busy_seconds()
        jax.block_until_ready(train(keys))
        return busy_seconds() - began

    yield seeds * (totals[1] - totals[0]) / (seconds(long) - seconds(short))
