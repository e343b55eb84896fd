"""What is missing for StarCraft II is said before a game is launched."""

import sys
import types
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from support import REPO, merge

import envs
from rolemarl_jax.bridge.worker.games import SetupError, smacv2, starcraft
from rolemarl_jax.config import ConfigError

VERSIONS = {"4.10": 75689, "4.6.2": 69232, "5.0.3": 81009}
REGISTRY = {"3m": {}, "10gen_terran": {"map_name": "32x32_flat"}}


def module(monkeypatch, name, **contents):
    made = types.ModuleType(name)
    vars(made).update(contents)
    monkeypatch.setitem(sys.modules, name, made)


@pytest.fixture
def packages(monkeypatch):
    """The parts of pysc2, smac and smacv2 that are looked at before a launch."""
    versions = {
        name: SimpleNamespace(build_version=build) for name, build in VERSIONS.items()
    }
    lib = SimpleNamespace(VERSIONS=versions)
    flags = SimpleNamespace(FLAGS=SimpleNamespace(sc2_timeout=None))
    module(monkeypatch, "absl", flags=flags)
    module(monkeypatch, "pysc2")
    module(monkeypatch, "pysc2.run_configs", lib=lib)
    for package in ("smac", "smacv2"):
        module(monkeypatch, package)
        module(monkeypatch, f"{package}.env")
        registry = {"get_smac_map_registry": lambda: REGISTRY}
        maps = f"{package}.env.starcraft2.maps.smac_maps"
        module(monkeypatch, maps, **registry)
    return flags.FLAGS


@pytest.fixture
def game(tmp_path, monkeypatch):
    """A folder that looks like the game, with the map 3m."""
    binary = tmp_path / "Versions" / "Base75689" / "SC2_x64"
    maps = tmp_path / "Maps" / "SMAC_Maps"
    for file in (binary, maps / "3m.SC2Map"):
        file.parent.mkdir(parents=True)
        file.touch()
    monkeypatch.setenv("SC2PATH", str(tmp_path))
    return tmp_path


def prepare(package="smac", **changes):
    settings = {"map_name": "3m", "game_version": None, "sc2_timeout_s": 60, **changes}
    return starcraft.prepare(package, settings)


@pytest.mark.usefixtures("game")
def test_what_is_whole_is_accepted(packages):
    assert prepare(game_version="4.10", sc2_timeout_s=7) is sys.modules["smac.env"]
    assert packages.sc2_timeout == 7


@pytest.mark.usefixtures("packages", "game")
@pytest.mark.parametrize(
    ("package", "changes", "words"),
    [
        ("smac", {"game_version": "9.9"}, ["'9.9'", "does not know", "4.10, 4.6.2"]),
        ("smac", {"game_version": "4.6.2"}, ["Base69232", "installed", "Base75689"]),
        ("smac", {"map_name": "9m"}, ["'9m'", "smac plays", "3m"]),
        ("smacv2", {"map_name": "3m"}, ["'3m'", "smacv2 plays 10gen_terran"]),
        (
            "smacv2",
            {"map_name": "10gen_terran"},
            ["no 32x32_flat.SC2Map", "pip installs no"],
        ),
    ],
)
def test_versions_and_maps_that_are_not_there(package, changes, words):
    require_words(words, package, **changes)


def require_words(words, package="smac", **changes):
    with pytest.raises(SetupError) as caught:
        prepare(package, **changes)
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.usefixtures("packages")
def test_no_game(monkeypatch, tmp_path):
    monkeypatch.delenv("SC2PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    require_words(["no StarCraft II", "SC2PATH is not set", "4.10"])
    monkeypatch.setenv("SC2PATH", str(tmp_path / "nowhere"))
    require_words(["nowhere", "as SC2PATH says"])
    (tmp_path / "nowhere" / "Versions" / "Base1").mkdir(parents=True)
    require_words(["no build with SC2_x64"])


@pytest.mark.usefixtures("packages", "game")
@pytest.mark.parametrize("name", ["pysc2", "smac.env"])
def test_a_package_that_is_not_installed(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    require_words([name.split(".")[0], "install", "bridge.python"])


class TooNew:
    """Raises what a protobuf of today raises when pysc2's descriptors are made."""

    def find_spec(self, name, *_):
        if name == "pysc2":
            raise TypeError("Descriptors cannot be created directly.\nIf this call ...")


@pytest.mark.usefixtures("packages", "game")
def test_a_protobuf_that_does_not_fit(monkeypatch):
    monkeypatch.delitem(sys.modules, "pysc2")
    monkeypatch.setattr(sys, "meta_path", [TooNew(), *sys.meta_path])
    words = ["protobuf", "Descriptors cannot be created", "protobuf==3.20.3"]
    require_words([*words, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"])


def world(name, **changes):
    values = yaml.safe_load((REPO / f"configs/env/{name}.yaml").read_text("utf8"))
    values.pop("defaults")
    return envs.make(merge(values, changes))


def smacv2_world(**changes):
    return world("smacv2", **changes)


@pytest.mark.parametrize("name", ["smac", "smacv2"])
def test_best_returns_are_those_of_the_rewards(name):
    """What the packages pay for a win without a loss, as far as it is known."""

    def best(**changes):
        return starcraft.max_return(world(name, **changes).settings)

    assert best() == 20
    assert best(reward_scale_rate=5.0) == 5
    assert best(reward_scale=False) is None
    assert best(reward_sparse=True, reward_scale=False) == 1
    with pytest.raises(ConfigError, match=r"sparse=true; .*env\.reward_scale=false"):
        world(name, reward_sparse=True)


@pytest.mark.parametrize(
    "key", ["obs_pathing_grid", "obs_terrain_height", "obs_instead_of_state"]
)
def test_keys_that_smacv2_fails_with_are_refused(key):
    with pytest.raises(ConfigError, match=rf"env\.{key}: got true; .* fails with it"):
        smacv2_world(**{key: True})


def test_capabilities_of_one_number_take_lists():
    attack = {"dist_type": "per_agent_uniform", "lower_bound": [0.5]}
    told = smacv2_world(more_capabilities={"attack": attack}).settings
    assert told["capability_config"]["attack"] == attack
    with pytest.raises(ConfigError, match=r"attack\.upper_bound: got 1\.0; .*\[1\.0\]"):
        smacv2_world(more_capabilities={"attack": {**attack, "upper_bound": 1.0}})


@pytest.mark.parametrize(("version", "fails"), [("2.3.5", False), ("2.4.0", True)])
def test_a_numpy_that_smacv2_fails_with(monkeypatch, version, fails):
    monkeypatch.setattr(np, "__version__", version)
    smacv2._require_numpy({"team_gen": {}})
    if not fails:
        smacv2._require_numpy({"attack": {}})
        return
    with pytest.raises(SetupError, match=r"attack: .* 2\.4\.0; .*numpy==2\.3\.5"):
        smacv2._require_numpy({"attack": {}})
