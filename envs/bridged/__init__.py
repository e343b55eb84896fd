"""Worlds that play in processes of their own, as the bridge's workers need them."""

import dataclasses
from typing import Any

from rolemarl_jax.config import ConfigError
from rolemarl_jax.reads import ReadWhen

# Both packages for StarCraft II weigh damage, kills and ends alike.
STARCRAFT_REWARDS = (
    ReadWhen(
        (
            *("reward_defeat", "reward_only_positive", "reward_negative_scale"),
            *("reward_death_value", "reward_win"),
        ),
        lambda c: not c.reward_sparse,
        "env.reward_sparse=false",
    ),
    ReadWhen(
        ("reward_negative_scale",),
        lambda c: not c.reward_only_positive,
        "env.reward_only_positive=false",
    ),
    ReadWhen(("reward_scale_rate",), lambda c: c.reward_scale, "env.reward_scale=true"),
)


def settings(cfg: Any, *besides: str) -> dict[str, Any]:
    """What a worker is told: the keys of a configuration.

    Args:
        cfg: the record.
        besides: keys that are left out, as the environment's name is.
    """
    return {
        key: value
        for key, value in dataclasses.asdict(cfg).items()
        if key not in ("name", *besides)
    }


def require_known_best(cfg: Any) -> None:
    """Refuses StarCraft rewards whose best return is none that a learner is told.

    Raises:
        ConfigError: rewards of ends alone that are scaled: both packages divide even
            the 1 of a win by what a win with all damage would have given.
    """
    if cfg.reward_sparse and cfg.reward_scale:
        raise ConfigError(
            "env.reward_scale: got true with env.reward_sparse=true; allowed: false, "
            "for the package would divide the 1 of a win by the damage of a whole "
            "battle; set env.reward_scale=false"
        )
