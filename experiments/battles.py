"""Win rates of scripted allies on the maps of SMAX, or an animation of one battle.

python -m experiments.battles 'maps=[2s3z,MMM2]'
python -m experiments.battles maps=MMM2 allies=focus gif=mmm2.gif
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.door import cli
from experiments.door.cli import Option
from experiments.door.compose import composed
from experiments.render import LARGEST, SMALLEST
from rolemarl_jax.config import ConfigError, build, nearest

PICKS = ("closest", "focus", "random")
MOST = 10**5  # battles of a cell, all at once
OPTIONS = {
    "maps": Option([], "of SMAX; all if empty"),
    "allies": Option(
        ["closest", "focus"], "policies of the learned team: closest, focus or random"
    ),
    "enemies": Option(
        ["closest", "focus"], "policies of the scripted team: the same names"
    ),
    "shields": Option(False, "shields that come back"),
    "episodes": Option(256, "battles of each cell"),
    "seed": Option(0, "of the battles"),
    "gif": Option(None, "film of one battle (.gif, .mp4), instead of the table"),
    "size": Option(480, "pixels of its width"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; options are listed in ``OPTIONS``."""
    cli.guard(lambda: _main(cli.options(OPTIONS, argv, __doc__)))


def _main(options: dict[str, Any]) -> None:
    for key in ("allies", "enemies"):
        if not options[key]:
            raise ConfigError(f"{key}: got []; allowed: {', '.join(PICKS)}")
        for pick in options[key]:
            if pick not in PICKS:
                raise ConfigError(f"{key}: got {pick!r}; {nearest(str(pick), PICKS)}")
    cli.whole(options, "episodes", least=1, most=MOST)
    cli.whole(options, "seed", least=0)
    cli.whole(options, "size", least=SMALLEST, most=LARGEST)
    from envs.battle.maps import MAPS

    if options["gif"]:
        _require_place(Path(str(options["gif"])))
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


def _require_place(out: Path) -> None:
    """Refuses a film that could not be written, before anything is fought.

    Raises:
        ConfigError: no encoder for it, or no folder.
    """
    from envs.picture.film import require_codec

    require_codec(out)
    if not out.parent.is_dir():
        raise ConfigError(f"gif: got '{out}'; there is no folder {out.parent}")


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


def _rate(options: dict[str, Any], cfg: Any, pick: Any) -> str:
    """Win rate and mean length, as a cell."""
    from envs import smax
    from envs.battle import contest

    env, allies = smax.make(cfg), smax.reference(cfg, pick)
    asked = options["episodes"], options["seed"]
    found = contest.rate(env, allies.act, allies.memory, *asked)
    return f"{found.win_rate:.2f} ({found.length:.0f})"


def _animate(options: dict[str, Any], by_enemy: dict[str, Any]) -> None:
    """The first battle, until it ends."""
    from envs import smax
    from envs.battle import contest

    cfg = by_enemy[options["enemies"][0]]
    env, allies = smax.make(cfg), smax.reference(cfg, options["allies"][0])
    made = contest.film(
        env,
        allies.act,
        allies.memory,
        smax.rules_of(cfg),
        Path(str(options["gif"])),
        seed=options["seed"],
        size=options["size"],
    )
    print(f"{options['gif']}: {made.frames} frames, won: {made.won}")


if __name__ == "__main__":
    main()
