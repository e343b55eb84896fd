"""Win rates of scripted allies on the maps of SMAX, or an animation of one battle.

python -m experiments.battles maps=[2s3z,MMM2]
python -m experiments.battles maps=[MMM2] allies=[focus] gif=mmm2.gif
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.door import cli
from experiments.door.compose import composed
from rolemarl_jax.config import ConfigError, build, nearest

PICKS = ("closest", "focus", "random")
OPTIONS = {
    "maps": [],  # all if empty
    "allies": ["closest", "focus"],  # policies of the learned team
    "enemies": ["closest", "focus"],  # policies of the scripted team
    "shields": False,  # shields that come back
    "episodes": 256,
    "seed": 0,
    "gif": None,  # file of an animation of one battle, instead of the table
    "size": 480,  # pixels of its width
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; options are listed in ``OPTIONS``."""
    cli.guard(lambda: _main(cli.options(OPTIONS, argv)))


def _main(options: dict[str, Any]) -> None:
    for key in ("allies", "enemies"):
        for pick in options[key]:
            if pick not in PICKS:
                raise ConfigError(f"{key}: got {pick!r}; {nearest(str(pick), PICKS)}")
    from envs.battle.maps import MAPS

    configs = {name: _config(options, name) for name in options["maps"] or MAPS}
    if options["gif"]:
        return _animate(options, next(iter(configs.values())))
    teams = [(a, e) for e in options["enemies"] for a in options["allies"]]
    head = [f"{a} v {e}" for a, e in teams]
    print(f"| map | {' | '.join(head)} |")
    print("|---" * (len(head) + 1) + "|")
    for name, by_enemy in configs.items():
        rates = [_rate(options, by_enemy[e], a) for a, e in teams]
        print(f"| {name} | {' | '.join(rates)} |", flush=True)
    return None


def _config(options: dict[str, Any], name: str) -> dict[str, Any]:
    """Configuration of a map for each policy of the enemies, checked."""
    from envs import smax

    made = {}
    for pick in options["enemies"]:
        values = composed(["env=smax", f"env.map={name}"]).values["env"]
        changed = {**values, "attack_mode": pick, "shields": options["shields"]}
        made[pick] = build(smax.Config, changed, "env")
        smax.rules_of(made[pick])
    return made


def play(cfg: Any, pick: Any, episodes: int, seed: int) -> tuple[Any, Any, Any]:
    """Battles of scripted allies up to the time limit.

    Returns:
        Worlds ``[T + 1, episodes, ...]``, whether each step was still to be fought
        ``[T, episodes]`` and whether it won ``[T, episodes]``.
    """
    import jax
    import jax.numpy as jnp

    from envs import smax

    env, policy = smax.make(cfg), smax.reference(cfg, pick)

    def battle(key: Any) -> tuple[Any, Any, Any]:
        def tick(carry: Any, t: Any) -> tuple[Any, Any]:
            world, memory, going = carry
            one, two = jax.random.split(jax.random.fold_in(key, t))
            actions, memory = policy.act(world, memory, one)
            after, out = env.step(two, world, actions)
            still = going & ~(out.terminated | out.truncated)
            return (after, memory, still), (after, going, out.won & going)

        start = env.reset(key)
        first = (start, policy.memory, jnp.ones((), bool))
        steps = jnp.arange(env.spec.episode_limit)
        worlds, going, won = jax.lax.scan(tick, first, steps)[1]
        whole = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, worlds)
        return whole, going, won

    keys = jax.random.split(jax.random.key(seed), episodes)
    return jax.jit(jax.vmap(battle, out_axes=1))(keys)


def _rate(options: dict[str, Any], cfg: Any, pick: str) -> str:
    """Win rate and mean length."""
    _, going, won = play(cfg, pick, options["episodes"], options["seed"])
    return f"{won.any(0).mean():.2f} ({going.sum(0).mean():.0f})"


def _animate(options: dict[str, Any], by_enemy: dict[str, Any]) -> None:
    """The first battle, until it ends."""
    import jax

    from envs import smax
    from envs.battle import render

    cfg = by_enemy[options["enemies"][0]]
    worlds, going, won = play(cfg, options["allies"][0], 1, options["seed"])
    steps = [
        jax.tree.map(lambda x, t=t: x[t, 0], worlds.units)
        for t in range(int(going.sum()) + 1)
    ]
    pictures = render.frames(smax.rules_of(cfg), steps, size=options["size"])
    render.write_gif(Path(options["gif"]), pictures)
    print(f"{options['gif']}: {len(pictures)} frames, won: {bool(won.any())}")


if __name__ == "__main__":
    main()
