"""Battles of scripted allies, and the command that tabulates them."""

import jax.numpy as jnp
import numpy as np
import pytest

from envs.battle import contest
from envs.battle.scripted import blank
from experiments import battles
from rolemarl_jax.types import Env, EnvSpec, Step

SPEC = EnvSpec("count", 1, 5, 1, 1, 6)


def world():
    """Sums actions from 0: won at 4 and lost above it."""

    def reset(key):
        return jnp.zeros((), jnp.int32)

    def step(key, state, action):
        state = state + action[0]
        won = state == 4
        return state, Step(jnp.zeros(()), won, (state > 4) & ~won, won)

    return Env(SPEC, reset, step, *(lambda x: x for _ in range(3)))


def test_battles_by_hand():
    """Allies that add 1 win in their fourth step, those that add 3 overshoot."""
    one = contest.play(world(), lambda s, m, k: (jnp.array([1]), m), blank(1), 3, 0)
    np.testing.assert_array_equal(one.worlds[:, 0], [0, 1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(one.going[:, 1], [1, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(one.won[:, 2], [0, 0, 0, 1, 0, 0])
    for add, found in ((1, (1.0, 4.0)), (3, (0.0, 2.0))):
        act = lambda s, m, k, a=add: (jnp.array([a]), m)  # noqa: E731
        assert contest.rate(world(), act, blank(1), 3, 0) == found


def test_memory_is_carried():
    def act(state, memory, key):
        return memory.last + 2, memory._replace(last=memory.last + 1)

    found = contest.play(world(), act, blank(1), 1, 0)
    # From NOBODY (-1) on: 1, 2, 3, ...
    np.testing.assert_array_equal(found.worlds[:4, 0], [0, 1, 3, 6])


def test_the_commands_tabulate_and_animate(tmp_path, capsys):
    few = ["maps=[3m]", "allies=focus", "enemies=closest", "episodes=4"]
    battles.main(few)
    head, _, row = capsys.readouterr().out.splitlines()
    assert head == "| map | focus v closest |" and row.startswith("| 3m | ")
    battles.main([*few, f"gif={tmp_path / 'a.gif'}", "size=120"])
    assert "frames, won:" in capsys.readouterr().out
    assert (tmp_path / "a.gif").read_bytes()[:3] == b"GIF"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("allies=[best]", "allies: got 'best'"),
        ("enemies=[]", "enemies: got []; allowed: closest"),
        ("maps=[4m]", "'4m'"),
        ("episodes=0", "episodes: got 0; allowed: 1 to 100000"),
        ("seed=-1", "seed: got -1; allowed: 0 to"),
        ("size=1", "size: got 1; allowed: 120 to 2000"),
        ("size=big", "size: got 'big'"),
        ("gif=no/such/a.gif", "there is no folder no/such"),
        ("gif=a.avi", "end in .gif or .mp4"),
    ],
)
def test_options_that_cannot_work_are_refused(asked, told, capsys):
    """Before anything is fought."""
    with pytest.raises(SystemExit) as stop:
        battles.main(["maps=[3m]", asked] if "maps" not in asked else [asked])
    assert stop.value.code == 2 and told in capsys.readouterr().err
