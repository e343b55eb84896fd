"""SMACv2 (Ellis et al. 2023) through the unmodified package ``smacv2``.

Its observations are passed on as they are, although an enemy out of sight wipes the
features of those before it.
"""

import copy
import random
from typing import Any

import numpy as np

from rolemarl_jax.bridge.worker.games import Game, battle, starcraft


def make(settings: dict[str, Any], seed: int) -> Game:
    """A game with teams drawn at each reset, as ``settings["capability_config"]`` says.

    ``seed`` reaches the game and the two global generators that the package draws
    from; its private generators cannot be seeded.

    Raises:
        SetupError: the package, the game or the map is missing.
    """
    module = starcraft.prepare("smacv2", settings)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    rest = {k: v for k, v in settings.items() if k != "sc2_timeout_s"}

    def build(again: int) -> Any:
        # The wrapper writes into the mapping that it is given.
        own = copy.deepcopy(rest)
        return module.StarCraftCapabilityEnvWrapper(seed=seed + again, **own)

    return battle.game(
        build=build,
        max_return=starcraft.max_return(settings),
        same_scale=False,  # it follows the first team of enemies that was drawn
        versions=lambda env: starcraft.versions("smacv2", env, seed),
        save_replay=starcraft.save_replay,
    )
