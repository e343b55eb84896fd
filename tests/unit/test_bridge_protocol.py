"""Messages of the bridge: what comes back, and what is refused."""

import numpy as np
import pytest
from bridge_support import SHAPES

from rolemarl_jax.bridge.pool.agreement import Agreement
from rolemarl_jax.bridge.pool.slots import Slot
from rolemarl_jax.bridge.worker import protocol as p


def seen(**changes):
    g = np.random.default_rng(0)
    n, a, o, s = SHAPES
    values = {
        "obs": g.normal(size=(n, o)).astype(np.float32),
        "state": g.normal(size=s).astype(np.float32),
        "avail": np.eye(n, a, dtype=bool),
    }
    return p.Seen(**{**values, **changes})


def test_header_comes_back():
    header = p.Header(
        p.SEEN,
        slot=3,
        generation=7,
        flags=p.TERMINATED | p.WON,
        episode=2**40,
        step=120,
        reward=-1.25,
        scale=365.0,
        seconds=0.125,
        token=bytes(range(16)),
    )
    assert p.unpack(p.pack(header)) == header


def test_observation_comes_back_bit_for_bit():
    sent = seen()
    got = p.read_seen(p.seen_frames(sent), SHAPES)
    for a, b in zip(sent, got, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_actions_come_back():
    frame = p.actions_frame(np.array([3, 0, 2]))
    assert p.read_actions(frame, 3) == [3, 0, 2]
    with pytest.raises(p.ProtocolError, match="12 bytes, expected 16"):
        p.read_actions(frame, 4)


@pytest.mark.parametrize("frame", [b"", b"RMJX", bytes(64), b"x" * 200])
def test_what_is_no_header(frame):
    with pytest.raises(p.ProtocolError):
        p.unpack(frame)


def test_each_process_has_a_seed_of_its_own():
    """Also those of a run that goes on; a fresh run's are as they ever were."""

    def seed(experiment, index, generation, since=0):
        slot = Slot(index, local=True, pause=0.0, generation=generation)
        return slot.next_seed(experiment, since)

    assert seed(0, 0, 1) == 957800432
    asked = [(0, 0, 1), (1, 0, 1), (0, 1, 1), (0, 0, 2), (0, 0, 1, 7), (0, 0, 1, 9)]
    assert len({seed(*one) for one in asked}) == len(asked)


def test_other_version_is_refused():
    frame = bytearray(p.pack(p.Header(p.JOIN, 0)))
    frame[4] = p.VERSION + 1
    with pytest.raises(p.ProtocolError, match="version"):
        p.unpack(bytes(frame))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"obs": np.zeros((3, 9), np.float32)}, "expected"),
        ({"avail": np.zeros((3, 4), bool)}, "no available action"),
        ({"state": np.full(6, np.nan, np.float32)}, "NaN"),
    ],
)
def test_observations_that_are_refused(changes, message):
    with pytest.raises(p.ProtocolError, match=message):
        p.read_seen(p.seen_frames(seen(**changes)), SHAPES)


def test_a_flag_that_is_something_else_is_refused():
    flags = p.Flags(obs=(1, 7), state=(0,))
    base = seen(obs=np.full((3, 8), 0.5, np.float32), state=np.zeros(6, np.float32))
    base.obs[:, [1, 7]] = [0.0, 1.0]
    p.require_flags(base, flags)
    base.obs[2, 7] = 0.25
    with pytest.raises(p.ProtocolError, match=r"feature 7 of the observation is 0\.25"):
        p.require_flags(base, flags)
    base.obs[2, 7], base.state[0] = 0.0, 2.0
    with pytest.raises(p.ProtocolError, match=r"feature 0 of the state is 2\.0"):
        p.require_flags(base, flags)


def test_a_missing_frame_is_refused():
    with pytest.raises(p.ProtocolError):
        p.read_seen(p.seen_frames(seen())[:2], SHAPES)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reward": float("nan")}, "reward nan"),
        ({"reward": float("-inf")}, "reward -inf"),
        ({"scale": float("inf")}, "divisor of rewards inf"),
        ({"scale": float("nan")}, "divisor of rewards nan"),
        ({"scale": -1.0}, "divisor of rewards -1"),
        ({"seconds": float("nan")}, "answer after nan s"),
    ],
)
def test_rewards_that_are_refused(fields, message):
    header = p.unpack(p.pack(p.Header(p.SEEN, 0, **fields)))
    with pytest.raises(p.ProtocolError, match=message):
        p.require_finite(header)


def said(*scales):
    """What is said of each scale, by workers in that order."""
    agreed = Agreement()
    agreed.said = {"same_scale": True}
    return [
        agreed.scale(Slot(index, local=True, pause=0.0, scale=scale))
        for index, scale in scales
    ]


def greeting(**flags):
    """What a worker says of itself."""
    flags = {"obs": [1, 7], "state": [0], **flags}
    return {**SHAPES._asdict(), "episode_limit": 9, "host": "here", "flags": flags}


def test_flags_are_agreed_on():
    agreed = Agreement()
    for wrong in ({"obs": [8]}, {"obs": [7, 1]}, {"obs": [1, 1]}, {"state": [-1]}):
        with pytest.raises(p.ProtocolError, match=r"flags .* features"):
            agreed.hello(0, greeting(**wrong))
    assert agreed.said == {}
    assert agreed.hello(0, greeting()) == agreed.hello(1, greeting()) == ""
    assert agreed.flags == p.Flags((1, 7), (0,))
    assert "give all hosts the same packages" in agreed.hello(2, greeting(state=[]))


def test_one_worker_alone_is_not_believed_where_others_agree():
    """Else whoever says least has the others restarted, for ever."""
    liar_first = said((0, 9.0), (1, 10.0), (2, 10.0), (1, 10.0), (0, 9.0))
    wrong = "divides rewards by {}, others by {}"
    # With one voice against another the smaller holds; a third decides.
    assert liar_first == ["", wrong.format(10, 9), "", "", wrong.format(9, 10)]
    assert said((0, 10.0), (1, 10.0), (2, 9.0)) == ["", "", wrong.format(9, 10)]
    # A game that failed counts its enemies twice: the smallest of what is shared.
    twice = said((0, 20.0), (1, 20.0), (2, 10.0), (3, 10.0), (0, 20.0), (2, 10.0))
    assert twice[-2:] == [wrong.format(20, 10), ""]
    assert said((0, 0.0), (1, 10.0)) == ["", ""]


@pytest.mark.parametrize(
    "frames", [[], [b"{}", b"{}"], [b"[1]"], [b"\xff"], [b'{"x": NaN}']]
)
def test_what_is_no_text(frames):
    with pytest.raises(p.ProtocolError):
        p.read_text(frames)
