"""R3DM's tables by map: every row is found in every world that has its map."""

import pytest
from support import load_algo

import envs
from envs.battle.maps import MAPS
from experiments.door import compose
from experiments.door.by_map import map_name
from rolemarl_jax.maps import entry_for
from rolemarl_jax.roles import make_method
from rolemarl_jax.types import EnvSpec, Remote

RACES = ("protoss", "terran", "zerg")
ROWS = load_algo("r3dm")["role"]["per_map"]
TABLE = {row: weights for row, weights in ROWS.items() if row != "default"}
# What table 2 of the paper prints of single maps; all others: 32, 0.02, 80000, 3.
BATCH = {"6h_vs_8z": 64} | {f"{race}_10_vs_11": 64 for race in RACES}
FINISH = {"zerg_5_vs_5": 0.0, "terran_10_vs_11": 0.001}
STEPS = {"zerg_5_vs_5": 100_000}
CLUSTERS = {"5m_vs_6m": 5, "terran_10_vs_11": 4}


def worlds(row):
    """Command lines of all worlds that have the map of a row."""
    race, *teams = row.replace("_vs_", "_").split("_")
    smax = row if row in MAPS else f"smacv2_{row}"
    if race not in RACES:
        return [f"env=smax env.map={smax}", f"env=smac env.map={row}"]
    units, enemies = teams
    drawn = f"env=smacv2 env.map=10gen_{race} env.units={units} env.enemies={enemies}"
    return [f"env=smax env.map={smax}", drawn]


CASES = [(row, world) for row in TABLE for world in worlds(row)]


def configured(world, *more):
    run = [] if any(word.startswith("run=") for word in more) else ["run=paper"]
    values = compose.composed([*world.split(), *run, *more]).values
    made = envs.make(values["env"])
    name = made.name if isinstance(made, Remote) else made.spec.name
    return values, EnvSpec(name, 30, 36, 8, 8, 8)


def test_the_table_is_the_papers():
    """Its six maps of SMAC, and six of SMACv2: 12 rows in two worlds each."""
    assert len(TABLE) == 12 and len(CASES) == 24
    drawn = {f"{race}_{n}" for race in RACES for n in ("5_vs_5", "10_vs_11")}
    assert drawn <= set(TABLE)


@pytest.mark.parametrize(("row", "world"), CASES)
def test_every_row_is_found_in_every_world(row, world, caplog):
    values, spec = configured(world, "algo=r3dm")
    found = make_method(values["algo"]["role"], spec).hypers
    assert {name: found[name] for name in TABLE[row]} == TABLE[row]
    assert not caplog.records
    epsilon = values["algo"]["epsilon"]
    assert values["replay"]["batch"] == BATCH.get(row, 32)
    assert epsilon["finish"] == FINISH.get(row, 0.02)
    assert epsilon["steps"] == STEPS.get(row, 80_000)
    assert values["algo"]["role"]["clusters"] == CLUSTERS.get(row, 3)


@pytest.mark.parametrize(("row", "world"), CASES)
def test_no_default_run_is_paid_or_punished_for_steps(row, world):
    """Another beta1 than 1 leaves a share of each step's error in the reward."""
    for algo, run in (("r3dm", "default"), ("pqn_r3dm", "default"), ("r3dm", "debug")):
        values, spec = configured(world, f"algo={algo}", f"run={run}")
        found = make_method(values["algo"]["role"], spec).hypers
        assert {**TABLE[row], "beta1": 1.0}.items() <= found.items()


@pytest.mark.parametrize(
    "world",
    ["env=smax env.map=2s3z", "env=smacv2", "env=smac", "env=grf", "env=firefighters"],
)
def test_the_door_and_the_world_name_a_map_alike(world):
    values, spec = configured(world)
    if "map" in values["env"]:
        assert map_name(values["env"]) == spec.name.rpartition("/")[2]
    assert entry_for(map_name(values["env"]), ["default"]) is None


def test_a_key_is_a_whole_name_or_its_end():
    keys = ["3m", "zerg_5_vs_5"]
    assert entry_for("3m", keys) == "3m"
    assert entry_for("smacv2_zerg_5_vs_5", keys) == "zerg_5_vs_5"
    assert entry_for("23m", keys) is entry_for("zerg_5_vs_5_more", keys) is None


def test_ablations_have_the_same_and_the_command_line_wins():
    world = "env=smacv2 env.map=10gen_terran env.units=10 env.enemies=11"
    for algo in ("r3dm", "r3dm_no_contrastive", "r3dm_no_intrinsic"):
        values, _ = configured(world, f"algo={algo}", "replay.batch=7")
        own = values["algo"]
        assert (own["epsilon"]["finish"], own["role"]["clusters"]) == (0.001, 4)
        assert values["replay"]["batch"] == 7


def test_other_runs_and_algorithms_have_none_of_it():
    world = "env=smax env.map=6h_vs_8z"
    assert configured(world, "algo=acorm")[0]["replay"]["batch"] == 32
    values = compose.composed([*world.split(), "algo=r3dm", "run=default"]).values
    assert values["replay"] == compose.composed(["run=default"]).values["replay"]
