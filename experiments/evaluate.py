"""Plays greedy episodes with the last checkpoint of a run.

python -m experiments.evaluate run_dir=runs/acorm-smax-3m/... episodes=320
"""

import dataclasses
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from experiments.door import cli, devices
from rolemarl_jax import members
from rolemarl_jax.config import ConfigError, EvalConfig, RunConfig
from rolemarl_jax.disk import files, rundir

WORLDS = 128
OPTIONS = {
    "run_dir": ...,
    "episodes": 320,  # a seed
    "step": None,  # of a checkpoint; the newest by default
    "env": None,  # must be the run's own, if given
    "workers": None,  # of worlds in other processes; as in the run by default
    "python": None,  # interpreter of these; as in the run by default
}


def main() -> None:
    """Entry point; options are listed in ``OPTIONS``."""
    cli.guard(lambda: _main(cli.options(OPTIONS)))


def _main(options: dict[str, Any]) -> None:
    cfg = _with_workers(rundir.load_config(options["run_dir"]), options)
    episodes = options["episodes"]
    if not isinstance(episodes, int) or episodes < 1:
        raise ConfigError(f"episodes: got {episodes!r}; allowed: a positive integer")
    devices.prepare_devices(cfg)
    parts = [
        _with_workers(rundir.load_config(part), options)
        for part in rundir.folders(cfg.run_dir)
    ]
    record = _together([play(part, episodes, options["step"]) for part in parts])
    out = Path(cfg.run_dir) / rundir.EVALUATION
    files.write_text(out, json.dumps(record, indent=2))
    _show(record)
    print(f"written to {out}")


def play(cfg: RunConfig, episodes: int, step: int | None) -> dict[str, Any]:
    """Greedy episodes of every seed, and their statistics.

    Args:
        cfg: of the run. episodes: a seed. step: of the checkpoint, ``None`` for the
            newest whole one.

    Returns:
        ``step``, ``episodes``, ``seeds`` (one record a member, win rate with its
        Wilson interval) and what ``_overall`` makes of them.
    """
    import envs
    from rolemarl_jax.report import stats
    from rolemarl_jax.types import Remote

    world = envs.make(cfg.env)
    remote = isinstance(world, Remote)
    outcome = (_bridged if remote else _compiled)(cfg, world, episodes, step)
    found, games, more = outcome
    rows = [
        {
            "seed": member.seed,
            **members.columns(member.hypers),
            "win_rate": float(games.won[i].mean()),
            "win_rate_interval": list(stats.wilson(int(games.won[i].sum()), episodes))[
                1:
            ],
            "return": float(games.ret[i].mean()),
            "episode_length": float(games.length[i].mean()),
        }
        for i, member in enumerate(members.members(cfg))
    ]
    return {
        "step": found.step,
        "episodes": episodes,
        "note": found.note,
        **_overall(rows),
        "seeds": rows,
        **more,
    }


def _together(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One record of all chunks; the step is that of the chunk that got least far."""
    rows = [row for part in parts for row in part["seeds"]]
    return {
        **parts[0],
        "step": min(part["step"] for part in parts),
        "note": " ".join(part["note"] for part in parts if part["note"]),
        **_overall(rows),
        "seeds": rows,
    }


def _overall(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Interquartile means with their bootstrap intervals, over all and by combination.

    Returns:
        ``overall``, and ``combinations`` where hyper-parameters are swept.
    """
    from rolemarl_jax.report import stats

    def means(part: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
        keys = ("win_rate", "return", "episode_length")
        return {key: list(stats.iqm_ci([row[key] for row in part])) for key in keys}

    groups = members.grouped(rows)
    swept = [{"hypers": hypers, **means(part)} for hypers, part in groups if hypers]
    return {"overall": means(rows), **({"combinations": swept} if swept else {})}


def _compiled(cfg: RunConfig, env: Any, episodes: int, step: int | None) -> Any:
    """Checkpoint, outcomes `[seeds, episodes]`, nothing more."""
    import jax
    import numpy as np

    from rolemarl_jax.disk import checkpoint
    from rolemarl_jax.experience.evaluate import make_evaluate
    from rolemarl_jax.learners import make_learner
    from rolemarl_jax.program.program import initial_learner

    learner = make_learner(cfg.algo, env.spec)
    ids, _ = members.arrays(cfg, members.count(cfg))
    abstract = jax.eval_shape(jax.vmap(partial(initial_learner, learner)), ids)
    folder = Path(cfg.run_dir) / rundir.CHECKPOINTS
    found = checkpoint.restore(folder, {"learner": abstract}, step)
    worlds = max(n for n in range(1, min(WORLDS, episodes) + 1) if episodes % n == 0)
    game = EvalConfig(every=cfg.eval.every, episodes=episodes, worlds=worlds)
    one_seed = make_evaluate(game, env, learner)
    played = jax.jit(lambda states: jax.lax.map(one_seed, states))(
        found.state["learner"]
    )
    return found, jax.tree.map(np.asarray, played), {}


def _bridged(cfg: RunConfig, world: Any, episodes: int, step: int | None) -> Any:
    """The same on worker processes, which save replays; what they said besides."""
    import jax.numpy as jnp
    import numpy as np

    from rolemarl_jax.bridge import exhibit as bridge_exhibit
    from rolemarl_jax.bridge import opening
    from rolemarl_jax.experience.evaluate import EvalResult
    from rolemarl_jax.learners import make_learner

    with opening.opened(cfg, world) as pool:
        learner = make_learner(cfg.algo, pool.spec)
        shown = bridge_exhibit.exhibit(cfg, pool, learner, episodes, step)
    columns: Any = (
        [[one.reward.sum() for one in shown.played]],
        [[one.won for one in shown.played]],
        [[one.length for one in shown.played]],
    )
    games = EvalResult(*(jnp.asarray(np.asarray(one)) for one in columns))
    return shown.restored, games, {"replays": shown.replays, "bridge": shown.record}


def _with_workers(cfg: RunConfig, options: dict[str, Any]) -> RunConfig:
    """The run's configuration, with what an evaluation may change."""
    name = cfg.env["name"]
    if options["env"] not in (None, name):
        raise ConfigError(f"env: got {options['env']!r}; this run plays '{name}'")
    asked = {key: options[key] for key in ("workers", "python") if options[key]}
    if asked and not cfg.bridge:
        raise ConfigError(f"{next(iter(asked))}: env={name} needs no worker processes")
    return dataclasses.replace(cfg, bridge={**cfg.bridge, **asked})


def _show(record: dict[str, Any]) -> None:
    """Prints a table, one line a seed."""
    if record["note"]:
        print(record["note"])
    print(f"checkpoint {record['step']}, {record['episodes']} greedy episodes a seed")
    print(
        f"{'seed':>6} {'win rate':>9} {'95 % interval':>15} {'return':>8} {'length':>7}"
    )
    for row in record["seeds"]:
        low, high = row["win_rate_interval"]
        print(
            f"{row['seed']:>6} {row['win_rate']:>9.3f} {low:>7.3f} to {high:.3f}"
            f" {row['return']:>8.3f} {row['episode_length']:>7.1f}"
            f"  {members.text(members.of_row(row))}".rstrip()
        )
    for one in record.get("combinations", []):
        value, low, high = one["win_rate"]
        told = f"interquartile mean {value:.3f}, 95 % [{low:.3f}, {high:.3f}]"
        print(f"win_rate with {members.text(one['hypers'])}: {told}")
    for key, (value, low, high) in record["overall"].items():
        print(f"{key}: interquartile mean {value:.3f}, 95 % [{low:.3f}, {high:.3f}]")
    for path in record.get("replays", []):
        print(f"replay {path}")


if __name__ == "__main__":
    main()
