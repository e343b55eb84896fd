"""Plays episodes with the last checkpoint of a run, and says how well.

python -m experiments.evaluate run_dir=runs/acorm-smax-3m/... episodes=320
"""

import dataclasses
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.door import cli, compose, devices, resume
from experiments.door.cli import Option
from rolemarl_jax.bridge.config import BridgeConfig
from rolemarl_jax.config import INT32, ConfigError, nearest, require_name
from rolemarl_jax.disk import files, rundir
from rolemarl_jax.run_config import RunConfig

NAMED = ("name", "map", "id")  # keys of a world that its name tells
UNSAFE = r"[^\w.=+-]+"  # characters that a file's name is better without
POLICIES = ("greedy", "sampled")
# Keys of the bridge that may differ; an evaluation records nothing.
BRIDGE = sorted({one.name for one in dataclasses.fields(BridgeConfig)} - {"record"})
OPTIONS = {
    "run_dir": Option(..., "directory of the run"),
    "episodes": Option(320, "of each seed"),
    "step": Option(None, "of a checkpoint; the newest by default"),
    "seed": Option(None, "of the episodes; drawn, and told, by default"),
    "policy": Option(
        "greedy", "sampled: actions drawn from the policy, of policy learners"
    ),
    "env": Option(
        None, "file of configs/env, a world of the same sizes; by default the run's"
    ),
    "env.": Option({}, "keys of the world that differ, such as env.map=3m"),
    "bridge.": Option({}, "keys of worlds in other processes that differ"),
    "workers": Option(None, "short for bridge.workers"),
    "python": Option(None, "short for bridge.python"),
    "out": Option(
        None,
        "evaluation.json in run_dir; with another world, its name and the keys that "
        "differ are added",
    ),
}


def main() -> None:
    """Entry point; options are listed in ``OPTIONS``."""
    cli.guard(lambda: _main(cli.options(OPTIONS, None, __doc__)))


def _main(options: dict[str, Any]) -> None:
    run = rundir.load_config(str(options["run_dir"]))
    cfg = _changed(run, options)
    episodes = cli.whole(options, "episodes", least=1)
    step = None if options["step"] is None else cli.whole(options, "step", least=0)
    drawn = options["seed"] is None
    seed = secrets.randbelow(INT32) if drawn else cli.whole(options, "seed", least=0)
    policy = require_name("policy", options["policy"], POLICIES)
    from rolemarl_jax.report import evaluation, names

    world = names.world({"env": cfg.env})
    changed = _differing(run.env, cfg.env)
    out = _out(run, world, changed, options)
    files.require_writable(out, "out")
    devices.prepare_devices(cfg)
    from rolemarl_jax.run.stored import Games

    games = Games(episodes, seed, policy == "sampled")
    _require_sizes(run, cfg)
    parts = [
        dataclasses.replace(rundir.load_config(part), env=cfg.env, bridge=cfg.bridge)
        for part in rundir.folders(cfg.run_dir)
    ]
    played = [play(part, games, step) for part in parts]
    more = {key: value for _, extra in played for key, value in extra.items()}
    more |= _headline(run) if cfg.env == run.env else {}
    found = zip(parts, (outcomes for outcomes, _ in played), strict=True)
    asked = evaluation.Asked(seed, policy, world, changed)
    record = evaluation.record(list(found), asked, more)
    evaluation.write(out, record)
    print(evaluation.text(record))
    print(f"written to {out}")


def _headline(run: RunConfig) -> dict[str, str]:
    """What the run itself is told by, which is not what these episodes measure."""
    from rolemarl_jax.report import headline, summary

    found = summary.known(Path(run.run_dir))  # the episodes count all the same
    if found is None or found.ranking:
        return {}
    key = found.measure
    told = headline.text(found.last_three[key], key, found.seeds)
    return {"headline": f"{headline.NAMES[key]} of the run: {told}"}


def play(cfg: RunConfig, games: Any, step: int | None) -> tuple[Any, dict[str, Any]]:
    """Hands a world to whoever plays its kind.

    Args:
        cfg: of the run, or of one of its chunks.
        games: ``stored.Games``.
        step: of the checkpoint, ``None`` for the newest whole one.

    Returns:
        ``evaluation.Outcomes``, and what else is to be told.
    """
    import envs
    from rolemarl_jax.bridge.exhibit import evaluate_remote
    from rolemarl_jax.learners import make_learner
    from rolemarl_jax.run import stored
    from rolemarl_jax.types import Remote

    world = envs.make(cfg.env)
    if isinstance(world, Remote):
        return evaluate_remote(cfg, world, games, step)
    learner = make_learner(cfg.algo, world.spec)
    return stored.evaluate(cfg, world, learner, games, step), {}


def _changed(run: RunConfig, options: dict[str, Any]) -> RunConfig:
    """The run's configuration, with what an evaluation may change."""
    env, bridge = run.env, run.bridge
    if options["env"] not in (None, env["name"]):
        chosen = compose.composed([f"env={options['env']}"]).values
        env, bridge = chosen["env"], {**chosen["bridge"], **bridge}
    env = resume.replaced(env, options["env."])
    short = ("workers", "python")
    short = {key: options[key] for key in short if options[key] is not None}
    asked = {**options["bridge."], **short}
    if asked and not bridge:
        first = next(iter(asked))
        raise ConfigError(
            f"bridge.{first}: env={env['name']} needs no worker processes"
        )
    for key in asked:
        if key not in BRIDGE:
            near = nearest(f"bridge.{key}", [f"bridge.{name}" for name in BRIDGE])
            raise ConfigError(f"bridge.{key}: unknown option; {near}")
    return dataclasses.replace(run, env=env, bridge={**bridge, **asked})


def _require_sizes(run: RunConfig, cfg: RunConfig) -> None:
    """Refuses a world whose agents see or do other things than the run's.

    Worlds in other processes tell their sizes only when they play.

    Raises:
        ConfigError: names what differs.
    """
    import envs
    from rolemarl_jax.types import Env

    if cfg.env == run.env:
        return
    trained, other = envs.make(run.env), envs.make(cfg.env)
    if not (isinstance(trained, Env) and isinstance(other, Env)):
        return
    sizes = ("n_agents", "n_actions", "obs_dim", "state_dim")
    differ = [
        f"{name} {getattr(other.spec, name)} instead of {getattr(trained.spec, name)}"
        for name in sizes
        if getattr(other.spec, name) != getattr(trained.spec, name)
    ]
    if differ:
        raise ConfigError(
            f"env: {other.spec.name} has {', '.join(differ)} of {trained.spec.name}, "
            "which the run was trained in; allowed: worlds of the same sizes"
        )


def _differing(own: Mapping[str, Any], env: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys of a world, with their values, that differ from the run's own."""
    before = dict(rundir.leaves(own))
    return {
        key: value for key, value in rundir.leaves(env) if before.get(key, ...) != value
    }


def _out(
    run: RunConfig, world: str, changed: Mapping[str, Any], options: dict[str, Any]
) -> Path:
    """Where the record goes; that of another world lies beside the run's own.

    Its name tells the world and the keys that were typed and are no part of that.
    """
    if options["out"] is not None:
        return Path(str(options["out"]))
    path = Path(run.run_dir) / rundir.EVALUATION
    if not changed:
        return path
    typed = tuple(options["env."])
    told = [
        f"{key}={value}"
        for key, value in changed.items()
        if key not in NAMED and any(f"{key}.".startswith(f"{one}.") for one in typed)
    ]
    name = re.sub(UNSAFE, "-", "-".join([path.stem, world, *told]))
    return path.with_stem(name)


if __name__ == "__main__":
    main()
