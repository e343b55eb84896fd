"""SMAC (Samvelyan et al. 2019) through the unmodified package ``smac``."""

from typing import Any

from rolemarl_jax.bridge.worker.games import Game, battle, starcraft


def make(settings: dict[str, Any], seed: int) -> Game:
    """A game of ``settings["map_name"]``; it is launched by the first ``reset``.

    Raises:
        SetupError: the package, the game or the map is missing.
    """
    module = starcraft.prepare("smac", settings)
    rest = {k: v for k, v in settings.items() if k != "sc2_timeout_s"}
    return battle.game(
        build=lambda again: module.StarCraft2Env(seed=seed + again, **rest),
        max_return=starcraft.max_return(settings),
        same_scale=True,
        versions=lambda env: starcraft.versions("smac", env, seed),
        save_replay=starcraft.save_replay,
        flags=starcraft.flags,
    )
