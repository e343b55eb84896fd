"""Messages between learner and workers: a fixed header and raw arrays, no pickle.

Both sides import this file; it needs NumPy only. A message is a list of frames: the
header, then either the arrays of one observation or one JSON text.
"""

import json
import math
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

MAGIC, VERSION = b"RMJX", 4
_HEADER = struct.Struct("<4sHHHHQIIddd16s")
ANY_SLOT = 0xFFFF

# Kinds, from the worker.
JOIN, HELLO, SEEN, FAULT, DONE = 1, 2, 3, 4, 5
# Kinds, from the learner.
SETUP, RESET, STEP, REPLAY, CLOSE = 16, 17, 18, 19, 20
KINDS = (JOIN, HELLO, SEEN, FAULT, DONE, SETUP, RESET, STEP, REPLAY, CLOSE)

# Flags of SEEN.
TERMINATED, TRUNCATED, WON, ABORTED, INFO = 1, 2, 4, 8, 16


class ProtocolError(ValueError):
    """A message that is not one of ours."""


class Header(NamedTuple):
    """First frame of every message.

    Attributes:
        kind: one of ``KINDS``.
        slot: of the worker.
        generation: which process of that slot.
        flags: of a SEEN.
        episode: id, given by the learner.
        step: steps of the episode before this message.
        reward: of the step.
        scale: the game's own divisor of rewards (``max_reward``), 0 if it has none.
        seconds: that an answer took; of a request, that it may take.
        token: secret of the session.
    """

    kind: int
    slot: int
    generation: int = 0
    flags: int = 0
    episode: int = 0
    step: int = 0
    reward: float = 0.0
    scale: float = 0.0
    seconds: float = 0.0
    token: bytes = bytes(16)


class Shapes(NamedTuple):
    """Sizes that fix the length of every array frame.

    Attributes:
        n_agents: N.
        n_actions: A, of the agent with the most.
        obs_dim: O, of one agent.
        state_dim: S.
    """

    n_agents: int
    n_actions: int
    obs_dim: int
    state_dim: int


class Flags(NamedTuple):
    """Features that are never anything but 0 or 1, in rising order.

    Attributes:
        obs: of an observation.
        state: of the state.
    """

    obs: tuple[int, ...] = ()
    state: tuple[int, ...] = ()


class Seen(NamedTuple):
    """One observation of a world as NumPy arrays.

    Attributes:
        obs: `[N, O]` float32.
        state: `[S]` float32.
        avail: available actions `[N, A]` bool.
    """

    obs: np.ndarray
    state: np.ndarray
    avail: np.ndarray


def pack(header: Header) -> bytes:
    """The header as bytes."""
    return _HEADER.pack(
        MAGIC,
        VERSION,
        header.kind,
        header.slot,
        header.flags,
        header.episode,
        header.step,
        header.generation,
        header.reward,
        header.scale,
        header.seconds,
        header.token,
    )


def unpack(frame: bytes) -> Header:
    """A header from bytes.

    Raises:
        ProtocolError: wrong length, other program, other version or unknown kind.
    """
    if len(frame) != _HEADER.size:
        raise ProtocolError(f"header of {len(frame)} bytes, not {_HEADER.size}")
    magic, version, kind, slot, flags, episode, step, generation, *rest = (
        _HEADER.unpack(frame)
    )
    if magic != MAGIC or version != VERSION or kind not in KINDS:
        raise ProtocolError(
            f"header says {magic!r}, version {version}, kind {kind}; this side speaks "
            f"{MAGIC!r}, version {VERSION}"
        )
    return Header(kind, slot, generation, flags, episode, step, *rest)


def seen_frames(seen: Seen) -> list[bytes]:
    """Array frames of an observation."""
    return [
        np.ascontiguousarray(seen.obs, np.float32).tobytes(),
        np.ascontiguousarray(seen.state, np.float32).tobytes(),
        np.ascontiguousarray(seen.avail, np.uint8).tobytes(),
    ]


def read_seen(frames: Sequence[bytes], shapes: Shapes) -> Seen:
    """An observation from its array frames.

    Raises:
        ProtocolError: frames of another number or length, or numbers that are none.
    """
    n, a, o, s = shapes
    expected = [4 * n * o, 4 * s, n * a]
    got = [len(frame) for frame in frames]
    if got != expected:
        raise ProtocolError(f"arrays of {got} bytes, expected {expected}")
    obs = np.frombuffer(frames[0], np.float32).reshape(n, o)
    state = np.frombuffer(frames[1], np.float32)
    if not (np.isfinite(obs).all() and np.isfinite(state).all()):
        raise ProtocolError("observation or state holds NaN or infinity")
    avail = np.frombuffer(frames[2], np.uint8).reshape(n, a).astype(bool)
    if not avail.any(-1).all():
        raise ProtocolError("an agent has no available action")
    return Seen(obs, state, avail)


def require_flags(seen: Seen, flags: Flags) -> None:
    """Refuses a flag that is something else.

    Raises:
        ProtocolError: names the feature and its value.
    """
    for name, values, columns in (
        ("observation", seen.obs, flags.obs),
        ("state", seen.state, flags.state),
    ):
        found = values[..., list(columns)]
        wrong = np.argwhere((found != 0) & (found != 1))
        if len(wrong):
            at = tuple(wrong[0])
            raise ProtocolError(
                f"feature {columns[at[-1]]} of the {name} is {found[at]}, and was said "
                "to be a flag"
            )


def require_finite(header: Header) -> None:
    """Refuses a reward, or a divisor of rewards, that nothing can be learnt from.

    Raises:
        ProtocolError: NaN or infinity, or a divisor or duration below zero.
    """
    if not math.isfinite(header.reward):
        raise ProtocolError(f"reward {header.reward}")
    if not (math.isfinite(header.scale) and header.scale >= 0):
        raise ProtocolError(f"divisor of rewards {header.scale}")
    if not (math.isfinite(header.seconds) and header.seconds >= 0):
        raise ProtocolError(f"answer after {header.seconds} s")


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def actions_frame(actions: np.ndarray) -> bytes:
    """Actions `[N]` as one frame."""
    return np.ascontiguousarray(actions, np.int32).tobytes()


def read_actions(frame: bytes, n_agents: int) -> list[int]:
    """Actions from their frame.

    Raises:
        ProtocolError: wrong length.
    """
    if len(frame) != 4 * n_agents:
        raise ProtocolError(f"actions of {len(frame)} bytes, expected {4 * n_agents}")
    return np.frombuffer(frame, np.int32).tolist()


def text_frame(values: Any) -> bytes:
    """Anything that JSON can hold, as one frame."""
    return json.dumps(values).encode()


def read_text(frames: Sequence[bytes]) -> dict[str, Any]:
    """The JSON object of a message's only frame.

    Raises:
        ProtocolError: no such thing, or NaN or infinity in it.
    """
    try:
        (frame,) = frames
        values = json.loads(frame, parse_constant=_no_number)
    except (ValueError, UnicodeDecodeError) as error:
        raise ProtocolError(f"no JSON: {error}") from None
    if not isinstance(values, dict):
        raise ProtocolError("JSON text is no object")
    return values
