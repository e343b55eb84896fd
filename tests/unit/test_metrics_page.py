"""docs/metrics.md names every column that a run logs, and none that there is not."""

import re

import jax
import jax.numpy as jnp
import pytest

import envs
from experiments import configure
from rolemarl_jax import members
from rolemarl_jax.learners import make_learner
from rolemarl_jax.members import Member
from rolemarl_jax.program.program import Cursor, make_program
from rolemarl_jax.report.rows import EpisodeMeans, Position, make_row, stamped

METHODS = ("acorm", "acorm_mappo", "eoi", "eoi_maac", "r3dm", "roma")


def named(repo):
    text = (repo / "docs" / "metrics.md").read_text(encoding="utf8")
    return set(re.findall(r"^\| `([^`]+)` \|", text, re.M))


def logged(*arguments):
    """Columns of what an update reports, by shapes alone."""
    cfg = configure("run=debug", *arguments)
    env = envs.make_compiled(cfg.env)
    program = make_program(cfg, env, make_learner(cfg.algo, env.spec))
    state = jax.eval_shape(program.init, *members.arrays(cfg, program.members))
    start, one = Cursor.at(0, 0, 0), jnp.asarray(1, jnp.int32)
    return set(jax.eval_shape(program.segment, state, start, one)[1].sums)


def unexplained(columns, repo):
    page = named(repo)
    return {
        column
        for column in columns
        if column not in page and f"<step>/{column.partition('/')[2]}" not in page
    }


def test_columns_of_rows(repo):
    where, means = Position(0, 0, "train"), EpisodeMeans(0.0, 0.0, 0.0, 1)
    row = make_row(Member(0, {}), where, "train", means, {}, frozen_at=3)
    assert unexplained(stamped(row, 1.0), repo) == set()


def test_columns_of_a_value_learner(repo):
    assert unexplained(logged("algo=qmix", "env=windy_maze"), repo) == set()


@pytest.mark.slow
def test_columns_of_all_methods_and_no_others(repo):
    found = set().union(*(logged(f"algo={algo}", "env=smax") for algo in METHODS))
    assert unexplained(found, repo) == set()
    told = {c for c in named(repo) if "/" in c and "<" not in c}
    assert told - found == set()
