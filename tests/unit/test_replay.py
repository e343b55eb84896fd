"""Replay against ground truth: every observation tells its episode and step."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes.worlds import counting
from support import merge

from rolemarl_jax.config import ConfigError, build
from rolemarl_jax.experience.replay import Block, make_replay, table_entries
from rolemarl_jax.experience.store import make_store
from rolemarl_jax.run_config import ReplayConfig

LIMIT, WORLDS, N, A = 7, 3, 2, 3
ENV = counting(LIMIT, N, A)
BASE = {
    "store": "packed",
    "sampling": "episodes",
    "episodes": 12,
    "mean_length": 6,
    "batch": 4,
    "rows": 4,
    "row_length": 8,
    "burn_in": 3,
}


def made(cfg, env):
    return make_replay(cfg, env.spec, make_store(cfg.store, env), WORLDS)


def replay_of(**over):
    return made(build(ReplayConfig, merge(BASE, over), "replay"), ENV)


def play(ticks, seed=0, env=ENV, worlds=WORLDS):
    """Blocks of ground truth: worlds before and after each step, and what happened."""

    def tick(states, key):
        k = jax.random.split(key, 3)
        shape = (worlds, env.spec.n_agents)
        actions = jax.random.randint(k[0], shape, 0, env.spec.n_actions)
        after, step = jax.vmap(env.step)(
            jax.random.split(k[1], worlds), states, actions
        )
        ended = step.terminated | step.truncated
        fresh = jax.vmap(env.reset)(jax.random.split(k[2], worlds))
        following = jax.tree.map(lambda a, b: jnp.where(ended, a, b), fresh, after)
        return following, (states, after, actions, step)

    root = jax.random.key(seed)
    states = jax.vmap(env.reset)(jax.random.split(root, worlds))
    keys = jax.random.split(jax.random.fold_in(root, 1), ticks)
    return jax.jit(lambda s, k: jax.lax.scan(tick, s, k)[1])(states, keys)


def block_of(store, played, begin, end):
    before, after, actions, step = jax.tree.map(lambda x: x[begin:end], played)
    encode = jax.vmap(jax.vmap(store.encode))
    return Block(
        world=encode(before),
        final=encode(after),
        action=actions,
        reward=step.reward,
        terminated=step.terminated,
        truncated=step.truncated,
    )


def filled(replay, played, ticks, size):
    """Replay after all ticks, in blocks of ``size``."""
    state, add = replay.init(), jax.jit(replay.add)
    for begin in range(0, ticks, size):
        state = add(state, block_of(replay.store, played, begin, begin + size))
    return state


def truth(played):
    """``{episode: (length, actions [length, N])}`` of finished and of begun ones."""
    before, _, actions, step = jax.tree.map(np.asarray, played)
    ended, episodes, order = step.terminated | step.truncated, {}, []
    for w in range(WORLDS):
        for t in range(len(ended)):
            name = int(before.episode[t, w])
            entry = episodes.setdefault(name, ([], int(before.length[t, w])))
            entry[0].append(actions[t, w])
            if ended[t, w]:
                order.append((t, w, name))
    return {k: (n, np.stack(a)) for k, (a, n) in episodes.items()}, [
        name for _, _, name in sorted(order)
    ]


def check_row(batch, b, episodes):
    """Every slot of one row is what really happened; returns the episodes in it."""
    seen = []
    for t in range(batch.obs.shape[0]):
        name, at = (int(x) for x in batch.state[t, b])
        if name == 0:  # padding
            assert not batch.obs[t, b].any() and not batch.avail[t, b].any()
            assert (batch.last_action[t, b] == -1).all()
            assert t == len(batch.mask) or batch.mask[t, b] == 0
            continue
        length, actions = episodes[name]
        if not seen or seen[-1] != name:
            assert at == 0
            seen.append(name)
        assert (batch.obs[t, b] == [[name, at, i] for i in range(N)]).all()
        assert (batch.avail[t, b] == (np.arange(A) >= at % 2)).all()
        assert batch.reset[t, b] == (at == 0)
        before = actions[at - 1] if at else [-1] * N
        assert (batch.last_action[t, b] == before).all()
        if t < len(batch.mask):
            check_step(batch, t, b, name, at, length, actions)
    return seen


def check_step(batch, t, b, name, at, length, actions):
    assert batch.mask[t, b] == (at < length)
    done = at == length - 1
    assert batch.terminated[t, b] == (done and length < LIMIT)
    assert batch.truncated[t, b] == (done and length == LIMIT)
    if at < length:
        assert (batch.action[t, b] == actions[at]).all()
        assert batch.reward[t, b] == pytest.approx(name / 2**16 + at, rel=1e-6)
        assert batch.state[t + 1, b, 0] == name
    else:
        assert batch.reward[t, b] == 0 and not batch.action[t, b].any()


def samples(replay, state, count=6):
    draw = jax.jit(replay.sample)
    for i in range(count):
        yield jax.tree.map(np.asarray, draw(state, jax.random.key(i)))


@pytest.mark.parametrize("ticks", [16, 32, 96])
@pytest.mark.parametrize("store", ["packed", "observations"])
def test_whole_episodes(ticks, store):
    """Before and after the ring has wrapped, rows are whole stored episodes."""
    played, replay = play(ticks, seed=ticks), replay_of(store=store)
    episodes, order = truth(played)
    state = filled(replay, played, ticks, 8)
    assert state.count == len(order)
    drawn = set()
    for batch in samples(replay, state):
        names = []
        for b in range(4):
            (name,) = check_row(batch, b, episodes)
            length = episodes[name][0]
            assert batch.mask[:, b].sum() == length
            assert (batch.mask[:length, b] == 1).all()
            names.append(name)
        assert len(set(names)) == 4, "without replacement"
        drawn |= set(names)
    assert drawn <= set(order[-12:]), "no older episode than the table holds"


BURN_IN = BASE["burn_in"]


def check_filled_row(batch, b, episodes):
    """Every slot of a row that begins anywhere is what really happened."""
    where = [tuple(int(x) for x in slot) for slot in batch.state[:, b]]
    for t, (name, at) in enumerate(where):
        length, actions = episodes[name]
        follows = t > 0 and where[t - 1] == (name, at - 1)
        assert (batch.obs[t, b] == [[name, at, i] for i in range(N)]).all()
        assert batch.reset[t, b] == (not follows)
        before = actions[at - 1] if at and (follows or t == 0) else [-1] * N
        unknown = t == 0 and (batch.last_action[t, b] == -1).all()  # overwritten
        assert unknown or (batch.last_action[t, b] == before).all()
        if t == len(batch.mask):
            continue
        real = at < length and where[t + 1] == (name, at + 1)
        assert batch.mask[t, b] <= (real and t >= BURN_IN)
        done = real and at == length - 1
        assert batch.terminated[t, b] == (done and length < LIMIT)
        assert batch.truncated[t, b] == (done and length == LIMIT)
        if real:
            assert (batch.action[t, b] == actions[at]).all()
            assert batch.reward[t, b] == pytest.approx(name / 2**16 + at, rel=1e-6)
    return where


@pytest.mark.parametrize("ticks", [24, 32, 96])
def test_rows_of_real_steps(ticks):
    """Before and after the ring has wrapped, and across its seam."""
    played, replay = play(ticks, seed=ticks), replay_of(sampling="filled")
    episodes, _ = truth(played)
    state = filled(replay, played, ticks, 8)
    began = set()
    for batch in samples(replay, state, 20):
        assert not batch.mask[:BURN_IN].any() and batch.mask[BURN_IN:].mean() > 0.4
        for b in range(4):
            where = check_filled_row(batch, b, episodes)
            assert len(set(where)) == len(where), "no slot twice in a row"
            began.add(where[0][1])
    assert began >= set(range(LIMIT - 1)), "rows begin at every step of an episode"


@pytest.mark.parametrize("ticks", [40, 120])
def test_every_stored_step_is_learnt_from_equally_often(ticks):
    """Chi-square over all transitions there are, of episodes of random lengths."""
    played = play(ticks, seed=7)
    replay = replay_of(sampling="filled", rows=1, mean_length=12)
    state = filled(replay, played, ticks, 8)
    keys = jax.random.split(jax.random.key(1), (20_000, 2))

    def learnt(key):
        """One step of one row, uniform over what the row may learn from."""
        batch = replay.sample(state, key[0])
        at = jax.random.randint(key[1], (), BURN_IN, batch.mask.shape[0])
        return batch.state[at, 0], batch.mask[at, 0]

    slots, mask = jax.tree.map(np.asarray, jax.jit(jax.vmap(learnt))(keys))
    steps, counts = np.unique(slots[mask > 0], axis=0, return_counts=True)
    stored = np.minimum(np.asarray(state.head), 48).sum()
    begun = int((np.asarray(state.head) > 48).sum())
    ends = np.asarray(state.slots.flags == 4).sum()
    # A terminal slot, a newest slot whose successor is not there yet, and the first
    # steps of a lane that has been overwritten cannot be learnt from.
    assert len(steps) >= stored - ends - WORLDS - begun * BURN_IN
    assert {int(at) for _, at in steps} == set(range(LIMIT))
    expected = counts.mean()
    chi2, freedom = ((counts - expected) ** 2 / expected).sum(), len(counts) - 1
    assert chi2 < freedom + 4 * np.sqrt(2 * freedom)


def test_stores_give_bit_identical_batches():
    played = play(48)
    for sampling in ("episodes", "filled"):
        batches = []
        for store in ("packed", "observations"):
            replay = replay_of(store=store, sampling=sampling)
            state = filled(replay, played, 48, 16)
            batches.append(replay.sample(state, jax.random.key(5)))
        jax.tree.map(np.testing.assert_array_equal, *batches)


def test_block_size_does_not_matter():
    played = play(48)
    replay = replay_of()
    small, large = (filled(replay, played, 48, size) for size in (4, 16))
    jax.tree.map(np.testing.assert_array_equal, small, large)


@pytest.mark.parametrize("size", [5, 40])
def test_no_entry_of_the_table_is_written_twice_in_a_block(size):
    """Where more episodes end than it holds, the latest are kept."""
    ended = np.random.default_rng(0).random((6, WORLDS)) < 0.8
    assert ended.sum() > 5
    entry = np.asarray(table_entries(jnp.asarray(ended), jnp.int32(3), size))
    assert (entry[~ended] == size).all()
    order = [(3 + i) % size for i in range(ended.sum())]
    kept = entry[ended][-size:].tolist()
    assert kept == order[-size:] and len(set(kept)) == len(kept)
    assert (entry[ended][:-size] == size).all()


def test_a_block_of_half_a_lane_does_not_overwrite_itself():
    """Every episode has one step, so that the block fills its lanes."""
    replay = replay_of(episodes=4, mean_length=12)
    block = block_of(replay.store, play(8), 0, 8)
    block = block._replace(terminated=jnp.ones_like(block.terminated))
    whole, ticks = replay.add(replay.init(), block), replay.init()
    assert whole.slots.reward.shape == (WORLDS * 16,)
    for t in range(8):
        ticks = replay.add(ticks, jax.tree.map(lambda x, t=t: x[t : t + 1], block))
    jax.tree.map(np.testing.assert_array_equal, whole, ticks)


def test_every_episode_is_drawn_equally():
    played, replay = play(96, seed=1), replay_of()
    state = filled(replay, played, 96, 8)
    draw = jax.jit(jax.vmap(lambda key: replay.sample(state, key).state[0, :, 0]))
    names = np.asarray(draw(jax.random.split(jax.random.key(0), 1500))).ravel()
    counts = np.unique(names, return_counts=True)[1]
    expected = len(names) / len(counts)
    assert len(counts) >= 8
    assert ((counts - expected) ** 2 / expected).sum() < 4 * len(counts)


def test_overwritten_episodes_are_never_drawn():
    """Long episodes outgrow the lanes before the table forgets them."""
    env = counting(LIMIT, N, A)
    cfg = build(ReplayConfig, merge(BASE, {"mean_length": 4}), "replay")
    replay = made(cfg, env)  # 16 slots a lane: two full episodes
    for ticks in range(24, 64, 8):
        played = play(ticks, seed=3)
        episodes, _ = truth(played)
        for batch in samples(replay, filled(replay, played, ticks, 4), 4):
            for b in range(4):
                names = check_row(batch, b, episodes)
                assert len(names) == (batch.mask[:, b].sum() > 0)


def test_too_few_episodes_leave_empty_rows():
    played, replay = play(8, seed=11), replay_of(batch=12)
    episodes, order = truth(played)
    (batch,) = samples(replay, filled(replay, played, 8, 8), 1)
    names = [name for b in range(12) for name in check_row(batch, b, episodes)]
    assert sorted(names) == sorted(order) and len(order) < 12
    empty = batch.mask.sum(0) == 0
    assert empty.sum() == 12 - len(order) and not batch.state[:, empty].any()


@pytest.mark.slow
def test_warmup_guarantees_a_full_batch():
    """The slowest world imaginable: every episode has full length."""
    slow = replace(
        ENV, reset=lambda key: ENV.reset(key)._replace(length=jnp.asarray(LIMIT))
    )
    for sampling in ("episodes", "filled"):
        values = merge(BASE, {"sampling": sampling, "episodes": 20})
        replay = made(build(ReplayConfig, values, "replay"), slow)
        played = play(replay.warmup_ticks, env=slow)
        state = replay.init()
        state = replay.add(
            state, block_of(replay.store, played, 0, replay.warmup_ticks)
        )
        batch = replay.sample(state, jax.random.key(0))
        assert (batch.mask.sum(0) > 0).all() and replay.full(state)


def test_auto_takes_the_smaller_store():
    assert make_store("auto", ENV).name == "packed"
    assert (
        replay_of(store="packed").slot_bytes
        < replay_of(store="observations").slot_bytes
    )
    # 4 + 1 + 1 of the world, 2 of actions, 4 of reward, 1 of flags.
    assert replay_of(store="packed").slot_bytes == 13


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"episodes": 6}, r"replay\.episodes: 6 .* allowed: at least 16"),
        ({"batch": 13}, r"replay\.batch: got 13 rows"),
        ({"sampling": "filled", "row_length": 40}, "at least 88"),
        ({"sampling": "some"}, r"replay\.sampling: got 'some'"),
    ],
)
def test_refusals(over, words):
    with pytest.raises(ConfigError, match=words):
        replay_of(**over)
