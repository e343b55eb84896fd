"""What ``smac`` and ``smacv2`` share: the checks before a game, and its versions."""

import importlib
import os
import re
from pathlib import Path
from typing import Any

from rolemarl_jax.bridge.worker.games import SetupError
from rolemarl_jax.bridge.worker.protocol import Flags

SOURCE = {
    "smac": "https://github.com/oxwhirl/smac.git",
    "smacv2": "https://github.com/oxwhirl/smacv2.git",
}


def prepare(package: str, settings: dict[str, Any]) -> Any:
    """Checks everything that can be checked before a launch.

    Args:
        package: ``smac`` or ``smacv2``.
        settings: takes ``version``, ``sc2_timeout_s`` and ``map_name``.

    Returns:
        The package's environment module.

    Raises:
        SetupError: says what is missing and how to get it.
    """
    module = _import(package)
    game = Path(os.environ.get("SC2PATH", Path.home() / "StarCraftII")).expanduser()
    version = settings["game_version"]
    builds = _builds(game)
    _check_version(game, version, builds)
    _check_map(package, settings["map_name"], game)
    from absl import flags

    flags.FLAGS.sc2_timeout = int(settings["sc2_timeout_s"])
    return module


def _import(package: str) -> Any:
    """The package's ``env`` module."""
    try:
        importlib.import_module("pysc2")
    except ImportError as error:
        raise SetupError(
            f"package pysc2 cannot be imported ({error}); install pysc2==4.0.0 into "
            "the interpreter of bridge.python"
        ) from None
    except TypeError as error:
        raise SetupError(_protobuf(error)) from None
    try:
        return importlib.import_module(f"{package}.env")
    except ImportError as error:
        raise SetupError(
            f"package {package} cannot be imported ({error}); install it into the "
            f"interpreter of bridge.python: pip install git+{SOURCE[package]} "
            "(the package called smac on PyPI is another program)"
        ) from None
    except TypeError as error:
        raise SetupError(_protobuf(error)) from None


def _protobuf(error: Exception) -> str:
    """Message for descriptors that this protobuf refuses."""
    from importlib.metadata import version

    return (
        f"pysc2 does not work with protobuf {version('protobuf')} "
        f"({str(error).splitlines()[0]}); install protobuf==3.20.3 into the "
        "interpreter of bridge.python, or set PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION="
        "python (slower)"
    )


def _builds(game: Path) -> list[str]:
    """Installed builds, e.g. ``Base75689``, that have a binary."""
    folder = game / "Versions"
    if not folder.is_dir():
        how = "as SC2PATH says" if "SC2PATH" in os.environ else "SC2PATH is not set"
        raise SetupError(
            f"no StarCraft II in {game} ({how}; there is no folder Versions); install "
            "the Linux package 4.10 of Blizzard's s2client-proto and set SC2PATH to it"
        )
    builds = sorted(
        path.name for path in folder.iterdir() if (path / "SC2_x64").exists()
    )
    if not builds:
        raise SetupError(f"no build with SC2_x64 in {folder}; set SC2PATH")
    return builds


def _check_version(game: Path, version: str | None, builds: list[str]) -> None:
    """Refuses a game version that pysc2 does not know or that is not installed."""
    if version is None:
        return
    from pysc2.run_configs import lib

    known = lib.VERSIONS
    if version not in known:
        near = ", ".join(sorted(v for v in known if re.match(r"4\.(6|10)", v)))
        raise SetupError(
            f"game_version: got {version!r}, which pysc2 does not know; the papers' "
            f"are among {near}"
        )
    build = f"Base{known[version].build_version}"
    if build not in builds:
        raise SetupError(
            f"game_version: got {version!r}, which needs {build}; installed in {game}: "
            f"{', '.join(builds)}"
        )


def _check_map(package: str, name: str, game: Path) -> None:
    """Refuses a map that the package does not list or that lacks its file."""
    maps = importlib.import_module(f"{package}.env.starcraft2.maps.smac_maps")
    known = maps.get_smac_map_registry()
    playable = sorted(known)
    if package == "smacv2":  # on SMAC's own maps its second reset never returns
        playable = [one for one in playable if one.startswith("10gen_")]
    if name not in playable:
        raise SetupError(f"map: got {name!r}; {package} plays {', '.join(playable)}")
    file = known[name].get("map_name", name)
    folder = game / "Maps" / "SMAC_Maps"
    if not (folder / f"{file}.SC2Map").is_file():
        raise SetupError(
            f"map {name}: {folder} has no {file}.SC2Map; pip installs no maps: git "
            f"clone {SOURCE[package]}, and copy its folder {package}/env/starcraft2/"
            f"maps/SMAC_Maps to {folder.parent}"
        )


def max_return(settings: dict[str, Any]) -> float | None:
    """Return of a battle won without a loss; unscaled, only a running game knows it."""
    if settings["reward_sparse"]:
        return 1.0
    return settings["reward_scale_rate"] if settings["reward_scale"] else None


def flags(env: Any) -> Flags:
    """What both packages write as 0 or 1: where one can walk, whether an enemy can be
    attacked, its type, whether an ally is in sight; in the state, last actions.

    From the order of features in ``get_obs_agent`` and ``get_state``.
    """  # noqa: D205
    moves = env.get_obs_move_feats_size()
    enemies, of_enemy = env.get_obs_enemy_feats_size()
    allies, of_ally = env.get_obs_ally_feats_size()
    types = range(of_enemy - env.unit_type_bits, of_enemy)
    obs = [
        *range(env.n_actions_move),
        *(moves + of_enemy * e + at for e in range(enemies) for at in (0, *types)),
        *(moves + enemies * of_enemy + of_ally * a for a in range(allies)),
    ]
    size = env.get_obs_size()
    if env.obs_instead_of_state:
        state = [size * agent + at for agent in range(env.n_agents) for at in obs]
    elif env.state_last_action:
        end = env.get_state_size() - int(env.state_timestep_number)
        state = range(end - env.n_agents * env.n_actions, end)
    else:
        state = ()
    return Flags(tuple(obs), tuple(state))


def versions(package: str, env: Any, seed: int) -> dict[str, Any]:
    """Game and package versions of a running environment."""
    from importlib import metadata

    ping = env._controller.ping()
    libraries = {}
    for name in ("pysc2", "protobuf", "s2clientprotocol", package):
        try:
            libraries[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            libraries[name] = "not installed as a distribution"
    return {
        "game_version": ping.game_version,
        "data_version": ping.data_version,
        "base_build": ping.base_build,
        "data_build": ping.data_build,
        "seed": seed,
        "packages": libraries,
    }


def save_replay(env: Any, folder: str) -> str:
    """Saves a replay of the game so far; the newest file of the folder is it."""
    env = getattr(env, "env", env)  # SMACv2's wrapper hides its environment
    env.replay_dir = folder
    env.save_replay()
    files = sorted(Path(folder).rglob("*.SC2Replay"), key=lambda p: p.stat().st_mtime)
    return str(files[-1]) if files else ""
