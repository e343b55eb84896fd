"""What several tests need: configurations, batches, the authors' data."""

import json
from copy import deepcopy
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch_draws

from experiments.door.compose import composed
from rolemarl_jax.config import build
from rolemarl_jax.learners import make_learner
from rolemarl_jax.report import summary
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.types import Batch, EnvSpec

REPO = Path(__file__).resolve().parent.parent
ALGOS = sorted(
    path.stem
    for path in (REPO / "configs" / "algo").glob("*.yaml")
    if not path.stem.startswith("_")
)


def merge(base, over):
    """Deep merge of plain mappings, ``over`` winning."""
    out = dict(base)
    for key, value in over.items():
        deep = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merge(out[key], value) if deep else value
    return out


def load_algo(name, over=None):
    """``algo=<name>`` as the command line composes it, and changes on top."""
    return merge(deepcopy(_algo(name, "default")), over or {})


def load_paper(name, over=None):
    """The same with what ``run=paper`` sets."""
    return merge(deepcopy(_algo(name, "paper")), over or {})


@cache
def _algo(name, preset):
    return composed([f"algo={name}", f"run={preset}"]).values["algo"]


def learner_of(name, spec, over=None):
    return make_learner(load_algo(name, over), spec)


def value_based():
    """Names of the configurations that the value learner runs."""
    return [name for name in ALGOS if load_algo(name)["learner"] == "qmix"]


def random_batch(spec, T=6, B=3, seed=0, lengths=None):
    """A batch of whole episodes, padded; ``lengths`` of them, `[B]`."""
    g = np.random.default_rng(seed)
    N, A = spec.n_agents, spec.n_actions
    lengths = np.full(B, T) if lengths is None else np.asarray(lengths)
    step = np.arange(T)[:, None] < lengths
    there = np.arange(T + 1)[:, None] <= lengths
    avail = (g.random((T + 1, B, N, A)) < 0.7) | (np.arange(A) == 0)
    avail &= there[..., None, None]
    action = np.where(avail[:T], g.random((T, B, N, A)), -1).argmax(-1)
    action = np.where(step[..., None], action, 0)
    last = np.concatenate([np.full((1, B, N), -1), action])
    terminated = np.arange(T)[:, None] == lengths - 1
    return jax.tree.map(
        jnp.asarray,
        Batch(
            obs=_where(there, g.normal(size=(T + 1, B, N, spec.obs_dim))),
            state=_where(there, g.normal(size=(T + 1, B, spec.state_dim))),
            avail=avail,
            last_action=np.where(there[..., None], last, -1).astype(np.int32),
            reset=np.arange(T + 1)[:, None] == np.zeros(B),
            action=action.astype(np.int32),
            reward=_where(step, g.normal(size=(T, B))),
            terminated=terminated & (lengths < T),
            truncated=terminated & (lengths == T),
            mask=step.astype(np.float32),
        ),
    )


def _where(there, x):
    there = there.reshape(there.shape + (1,) * (x.ndim - 2))
    return np.where(there, x, 0).astype(np.float32)


SPEC = EnvSpec("tiny", 3, 5, 7, 6, 8, kinds=("a", "b"), own_type=5)


class Authors:
    """One file of numbers from the authors' code (``parity/`` of the shared folder).

    The committed copy has no parameters: they are PyTorch's initialisation from seed 0,
    so that ``init.json`` with their places in its stream replaces megabytes.
    """

    def __init__(self, folder, name):
        with np.load(folder / "parity" / f"{name}.npz") as file:
            self._data = dict(file)
        table = REPO / "tests" / "data" / "shared" / "parity" / "init.json"
        self.places = json.loads(table.read_text(encoding="utf8")).get(name, {})

    def __getitem__(self, key):
        return self._data[key]

    def drawn(self):
        """Parameters ``{module/name: array}`` as PyTorch drew them."""
        return torch_draws.drawn(self.places)

    def parameters(self):
        """Stored parameters where the file has them, else the drawn ones."""
        stored = {k[3:]: v for k, v in self._data.items() if k.startswith("p0/")}
        return stored or self.drawn()


def torch_linear(p, name):
    """A `Linear` of ours from PyTorch's parameters."""
    out = {"kernel": jnp.asarray(p[f"{name}.weight"].T)}
    if f"{name}.bias" in p:
        out["bias"] = jnp.asarray(p[f"{name}.bias"])
    return out


def torch_gru(p, name):
    """A `GRU` of ours from a PyTorch `GRUCell`."""
    return {
        "w_in": jnp.asarray(p[f"{name}.weight_ih"].T),
        "b_in": jnp.asarray(p[f"{name}.bias_ih"]),
        "w": jnp.asarray(p[f"{name}.weight_hh"].T),
        "b": jnp.asarray(p[f"{name}.bias_hh"]),
    }


def shrink(values, small=16):
    """Widths of an algorithm cut down to what a toy world needs, by rule of thumb."""
    out = {}
    for key, value in values.items():
        if isinstance(value, dict):
            value = shrink(value, small)
        elif isinstance(value, int) and not isinstance(value, bool):
            value = _shrunk(key, value, small)
        elif isinstance(value, list):
            value = [min(width, small) for width in value]
        out[key] = value
    return out


def _shrunk(key, value, small):
    if key.startswith("pretrain"):
        return min(value, 3)
    if key in ("clusters", "heads"):
        return min(value, 2)
    if key == "minibatch":
        return min(value, 8)
    if any(word in key for word in ("every", "steps", "interval")):
        return value
    return min(value, 64 if key == "batch" else small)


def small_algo(name, over=None):
    """A configuration at toy size."""
    return merge(shrink(load_algo(name)), over or {})


# No planning: toy programs fit anywhere.
SWEEP = {
    "hypers": {},
    "chunk": None,
    "device_memory": None,
    "card": None,
    "fraction": 0.85,
    "plan_only": False,
    "coordinator": None,
    "processes": None,
    "process": None,
}


def run_config(algo, seeds=1, over=None):
    """A ``RunConfig`` for toy worlds: 8 of them, little between updates."""
    replayed = algo["learner"] not in ("mappo", "pqn")
    block = {"mappo": 256, "pqn": 64}
    worlds = max(8, algo.get("minibatch") or 8)
    values = {
        "algo": algo,
        "env": {"name": "probe"},
        "logger": {"name": "none"},
        "bridge": {},
        "train": {
            "worlds": worlds,
            "steps_per_update": block.get(algo["learner"], 16),
            "warmup_steps": None,
            "seeds_by": "map",
            "host_devices": 1,
            "seeds_together": None,
        },
        "replay": {
            "store": "packed",
            "sampling": "episodes" if replayed else "fresh",
            "episodes": 256,
            "mean_length": 6,
            "batch": 32,
            "rows": 16,
            "row_length": 8,
            "burn_in": 0,
        },
        "eval": {"every": 1000, "episodes": 16, "worlds": 16, "role_episodes": 4},
        "checkpoint": {"every": 1000, "keep": 1, "replay": False},
        "sweep": SWEEP,
        "seeds": seeds,
        "seed": 0,
        "total_steps": 1000,
        "log_every": 1000,
        "run_dir": "none",
        "init_from": None,
        "resume": False,
        "deterministic": False,
        "preset": "test",
    }
    return build(RunConfig, merge(values, over or {}), "run")


def write_chunk(cfg):
    """What a run that has been trained to its end leaves behind."""
    folder = Path(cfg.run_dir)
    (folder / "checkpoints").mkdir(parents=True)
    rows = [{"seed": cfg.seed + i, "env_steps": 1} for i in range(cfg.seeds)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(text)
    summary.write(folder, {"env_steps": cfg.total_steps, "seeds": cfg.seeds})


def seeds_in(run_dir):
    """Seeds of the rows of a run, in their order."""
    lines = (Path(run_dir) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["seed"] for line in lines]
