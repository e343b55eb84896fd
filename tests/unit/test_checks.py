"""Checks pass every world that is shipped, and find each broken one."""

import dataclasses
import os
import random
import re
import shutil
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from experiments import configure
from experiments.door import findings
from experiments.door.compose import groups
from rolemarl_jax.checks import world as worlds
from rolemarl_jax.checks.findings import fault, note
from rolemarl_jax.checks.play import play
from rolemarl_jax.checks.seen import seen_faults
from rolemarl_jax.checks.world import check_env
from rolemarl_jax.types import Bodies, Env, EnvSpec, Observation, Step

LIMIT = 3
TINY = EnvSpec("tiny", 2, 3, 3, 1, LIMIT, max_return=4.0)
# The same with an agent of each type, and flags; its state tells odd steps besides.
MARKED = dataclasses.replace(
    TINY,
    obs_dim=5,
    state_dim=2,
    kinds=("left", "right"),
    own_type=3,
    obs_flags=(0, 1, 2),
    state_flags=(1,),
)
BRIDGED = ("grf", "gymma", "scripted", "smac", "smacv2")


def begin(key):
    return {"t": jnp.zeros((), jnp.int32), "goal": jax.random.randint(key, (), 0, 3)}


def after(key, state):
    return {"t": state["t"] + 1, "goal": jax.random.randint(key, (), 0, 3)}


def paid(state, actions):
    return (actions == state["goal"]).mean()


def result(state, reward):
    never = jnp.zeros((), bool)
    return Step(reward, never, state["t"] == LIMIT, never)


def move(key, state, actions):
    later = after(key, state)
    return later, result(later, paid(state, actions))


def look(state):
    shown = jnp.broadcast_to(jax.nn.one_hot(state["goal"], 3), (2, 3))
    return Observation(shown, state["t"][None] / LIMIT, jnp.ones((2, 3), bool))


def as_it_is(state):
    return state


GOOD = Env(TINY, begin, move, look, as_it_is, as_it_is)


# What only play shows: the name of a broken world, and what is said of it.
PLAYED = {
    "good": None,
    "packed": r"observe\(unpack\(pack\(state\)\)\) is not what",
    "nan": r"reward is NaN or infinite \(seen at step 2 of an episode\)",
    "mask": r"an agent has no available action \(seen at step 2",
    "final_mask": r"no available action \(seen in the terminal state, after step 3",
    "final_nan": r"state is NaN or infinite \(seen in the terminal state, after step 3",
    "final_packed": r"is not what observe\(state\) is \(seen in the terminal state",
    "final_flag": r"neither 0 nor 1, .* \(seen in the terminal state, after step 3",
    "final_type": r"from spec.own_type on are not 1 .* \(seen in the terminal state",
    "both_ends": r"terminated and truncated are both true",
    "won": r"won is true and the episode goes on",
    "endless": r"had step 4 with spec.episode_limit=3",
    "unending": r"had step 8 with spec.episode_limit=3",
    "early": r"was truncated after 2 steps with spec.episode_limit=3",
    "resets": r"step resets the world when an episode ends",
    "max_return": r"spec.max_return=4 is the return of a perfect",
    "dead": r"what a dead agent chooses changes",
    "obs_flag": r"neither 0 nor 1, .* \(seen at step 1",
    "state_flag": r"neither 0 nor 1, .* \(seen at step 2",
    "own_type": r"from spec.own_type on are not 1 for an agent's own kind",
}


def played_world(kind):
    """The world of that name's index, a traced one, so that all are one program."""
    broken = {name: kind == i for i, name in enumerate(PLAYED)}

    def step(key, state, actions):
        later = after(key, state)
        reward = paid(state, actions) + 2.0 * broken["max_return"]
        reward = jnp.where(broken["nan"] & (later["t"] == 2), jnp.nan, reward)
        over = later["t"] == LIMIT + broken["endless"] - broken["early"]
        over &= ~jnp.array(broken["unending"])
        won = broken["won"] & (later["t"] == 1)
        resets = broken["resets"] & over
        fresh = begin(key)
        later = jax.tree.map(lambda a, b: jnp.where(resets, a, b), fresh, later)
        return later, Step(reward, broken["both_ends"] & over, over, won)

    def observe(state):
        seen = look(state)
        wrong = broken["mask"] & (state["t"] == 1)
        wrong |= broken["final_mask"] & (state["t"] == LIMIT)
        shown = seen.obs / (1 + broken["obs_flag"])
        final = state["t"] == LIMIT
        swapped = broken["own_type"] | (broken["final_type"] & final)
        types = jnp.where(swapped, jnp.eye(2)[::-1], jnp.eye(2))
        odd = (state["t"] % 2) / (1 + (broken["state_flag"] & ~final))
        odd = jnp.where(broken["final_flag"] & final, 0.5, odd)
        clock = jnp.where(broken["final_nan"] & final, jnp.nan, seen.state)
        return Observation(
            jnp.concatenate([shown, types], axis=1),
            jnp.append(clock, odd),
            seen.avail & ~wrong,
        )

    def pack(state):
        lost = broken["final_packed"] & (state["t"] == LIMIT)
        t = jnp.where(lost, 0, state["t"])
        return {**state, "t": t // (1 + broken["packed"])}

    def bodies(state):
        alive = jnp.array([True, False]) | ~broken["dead"]
        return Bodies(jnp.arange(2), jnp.zeros((2, 2)), alive)

    return Env(MARKED, begin, step, observe, pack, as_it_is, bodies)


@pytest.fixture(scope="module")
def seen():
    """What random play sees in each world of ``PLAYED``, `[K, T, W]`."""

    def one(kind):
        return play(played_world(kind), jax.random.key(0), 8, 2 * LIMIT + 2)

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(jnp.arange(len(PLAYED))))


def by_python(key, state, actions):
    return move(key, state, actions if state["goal"] > 1 else 1 - actions)


def by_chance(key, state, actions):
    later, step = move(key, state, actions)
    return later, step._replace(reward=step.reward * random.random())


def kept_by_chance(packed):
    return {**packed, "t": packed["t"] + random.getrandbits(30)}


def placed_by_chance(state):
    del state
    place = jnp.full((2, 2), random.random())
    return Bodies(jnp.zeros(2, jnp.int32), place, jnp.ones(2, bool))


def seen_as(change, state):
    return change(look(state))


def with_state(change, key, state, actions):
    later, step = move(key, state, actions)
    return change(later), step


def spec(**changes):
    return {"spec": dataclasses.replace(TINY, **changes)}


BROKEN = {
    "agents": (
        spec(n_agents=0),
        r"spec.n_agents: got 0; allowed: an int of at least 1",
    ),
    "own_type": (spec(own_type=3), r"spec.own_type: got 3; allowed: 0 to 2"),
    "obs_flags": (spec(obs_flags=(0, 3)), r"obs_flags: got \(0, 3\); .* from 0 to 2"),
    "state_flags": (spec(state_flags=(0, 0)), r"state_flags: got \(0, 0\); .* once"),
    "flag_order": (spec(obs_flags=(2, 1)), r"obs_flags: got \(2, 1\); .* rising order"),
    "obs_dim": (spec(obs_dim=4), r"obs: got float32\[2, 3\]; allowed: float32\[2, 4\]"),
    "avail_type": (
        {"observe": partial(seen_as, lambda o: o._replace(avail=o.avail * 1.0))},
        r"avail: got float32\[2, 3\]; allowed: bool\[2, 3\]",
    ),
    "no_observation": (
        {"observe": partial(seen_as, tuple)},
        r"got tuple; allowed: an Observation",
    ),
    "no_step": (
        {"step": lambda *a: move(*a)[0]},
        r"allowed: a pair of the next state and a Step",
    ),
    "state_type": (
        {"step": partial(with_state, lambda s: {**s, "t": s["t"] * 1.0})},
        r"step's state\['t'\] \(as in reset's\): got float32\[\]; allowed: int32\[\]",
    ),
    "state_tree": (
        {"step": partial(with_state, lambda s: {**s, "more": 0})},
        r"step's state: its structure is",
    ),
    "python_if": ({"step": by_python}, r"decides in Python .*test_checks.py, line \d+"),
    "python_random": ({"step": by_chance}, r"step: gives another program each time"),
    "random_pack": ({"pack": kept_by_chance}, r"^pack: gives another program"),
    "random_unpack": ({"unpack": kept_by_chance}, r"^unpack: gives another program"),
    "random_bodies": ({"bodies": placed_by_chance}, r"^bodies: gives another program"),
}


def told(found, level="fault"):
    return [one.text for one in found if one.level == level]


@pytest.mark.parametrize("name", PLAYED)
def test_each_world_that_plays_wrong_is_found(name, seen):
    own = jax.tree.map(lambda x: x[list(PLAYED).index(name)], seen)
    found, text = told(seen_faults(MARKED, own)), PLAYED[name]
    if text is None:
        assert found == []
    else:
        assert len(found) == 1 and re.search(text, found[0]), found


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_world_is_found(name):
    changes, text = BROKEN[name]
    found = told(check_env(dataclasses.replace(GOOD, **changes)))
    assert len(found) == 1 and re.search(text, found[0]), found


@pytest.mark.parametrize(("shown", "faults"), [(1.0, 0), (0.0, 0), (0.5, 1)])
def test_types_are_looked_at_without_bodies(shown, faults):
    """A dead agent may see none, and nobody says who is dead."""

    def observe(state):
        seen = look(state)
        return seen._replace(obs=seen.obs.at[:, 2].set(shown).at[:, 1].set(0.0))

    changes = spec(own_type=1, kinds=("left", "right"))
    found = told(check_env(dataclasses.replace(GOOD, observe=observe, **changes)))
    assert len(found) == faults and all("spec.own_type" in text for text in found)


def test_what_may_be_meant_is_a_note():
    def step(key, state, actions):
        later = after(key, state)
        return later, Step(
            jnp.zeros(()), later["t"] == LIMIT, jnp.zeros((), bool), jnp.zeros((), bool)
        )

    changes = spec(max_return=None)
    found = check_env(dataclasses.replace(GOOD, step=step, **changes))
    assert told(found) == []
    notes = "\n".join(told(found, "note"))
    for text in ("max_return: is None", "terminated at the time limit", "no reward"):
        assert text in notes


def test_the_status_tells_of_faults(capsys):
    findings.tell("world", [note("perhaps")])
    assert capsys.readouterr().out.endswith("note: perhaps\nNothing to mend.\n")
    with pytest.raises(SystemExit) as ended:
        findings.tell("world", [fault("wrong")])
    assert ended.value.code == 1 and "1 fault to mend." in capsys.readouterr().out


def test_shipped_worlds_pass():
    """As far as shapes tell; the rest is slow."""
    for name in ("windy_maze", "pac_men"):
        env = envs.make_compiled(configure(f"env={name}").env)
        assert told(worlds.without_playing(env)) == []


@pytest.mark.slow
@pytest.mark.parametrize("env", [e for e in groups()["env"] if e not in BRIDGED])
def test_every_world_passes(env):
    assert told(check_env(envs.make_compiled(configure(f"env={env}").env))) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("example", "check", "words"),
    [
        ("my_world", "check_env", ("env=relay", "algo=qmix")),
        ("my_method", "check_method", ("algo=soft_roles", "env=windy_maze")),
    ],
)
def test_the_templates_are_checked_and_train(repo, tmp_path, example, check, words):
    """As their pages say, in a copy elsewhere."""
    shutil.copytree(repo / "examples" / example, tmp_path / "project")
    where = {**os.environ, "PYTHONPATH": str(repo)}

    def run(command, *more):
        line = [sys.executable, "-m", f"experiments.{command}", "--config-dir", "conf"]
        return subprocess.run(
            [*line, *words, *more],
            cwd=tmp_path / "project",
            env=where,
            capture_output=True,
            text=True,
        )

    done = run(check)
    assert done.returncode == 0 and "Nothing to mend." in done.stdout, done.stderr
    done = run("run", "run=debug", "seeds=1", "total_steps=2000", "run_dir=out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "project" / "out" / "summary.json").is_file()
