"""SMACv2 (Ellis et al. 2023) through the unmodified package ``smacv2``.

Its observations are passed on as they are, although an enemy out of sight wipes the
features of those before it.
"""

import copy
import random
from typing import Any

import numpy as np

from rolemarl_jax.bridge.worker.games import Game, SetupError, battle, starcraft

# Capabilities that the package writes as arrays of one number into single places.
NUMBERS = ("attack", "health")
NUMPY = (2, 4)  # from which on that is an error


def make(settings: dict[str, Any], seed: int) -> Game:
    """A game with teams drawn at each reset, as ``settings["capability_config"]`` says.

    ``seed`` reaches the game and the two global generators that the package draws
    from; its private generators cannot be seeded.

    Raises:
        SetupError: the package, the game or the map is missing, or numpy is too new.
    """
    _require_numpy(settings["capability_config"])
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
        flags=starcraft.flags,
    )


def _require_numpy(capabilities: dict[str, Any]) -> None:
    """Refuses a numpy that the package fails with."""
    used = [name for name in NUMBERS if name in capabilities]
    version = tuple(int(part) for part in np.__version__.split(".")[:2])
    if used and version >= NUMPY:
        raise SetupError(
            f"more_capabilities.{used[0]}: smacv2 fails with numpy {np.__version__}; "
            "install numpy==2.3.5 into the interpreter of bridge.python"
        )
