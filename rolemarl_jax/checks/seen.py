"""What random play has shown to be wrong with a world."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from rolemarl_jax.checks.findings import Finding, fault, note
from rolemarl_jax.checks.play import Seen
from rolemarl_jax.types import EnvSpec

# What is wrong where ``Looked`` says no.
LOOKED = {
    "finite": "observation or state is NaN or infinite",
    "offered": "an agent has no available action",
    "lossless": "observe(unpack(pack(state))) is not what observe(state) is",
    "flagged": "a feature of spec.obs_flags or spec.state_flags is neither 0 nor 1, "
    "which replay would not keep",
    "typed": "the features from spec.own_type on are not 1 for an agent's own kind "
    "and 0 for all others",
}


def seen_faults(spec: EnvSpec, seen: Seen) -> Iterator[Finding]:
    """What random play has shown to be wrong."""
    valid, over = seen.valid, seen.terminated | seen.truncated
    ends = valid & over

    def first(wrong: Any) -> str:
        t, w = np.argwhere(wrong)[0]
        return f"step {seen.step[t, w]} of an episode"

    for wrong, text in (
        (~np.isfinite(seen.reward), "reward is NaN or infinite"),
        (
            seen.terminated & seen.truncated,
            "terminated and truncated are both true; truncated is the time limit's "
            "alone, terminated everything else's",
        ),
        (seen.won & ~over, "won is true and the episode goes on"),
        (
            ~seen.inert,
            "what a dead agent chooses changes the next observation or the reward; "
            "leave dead agents one action, or heed none",
        ),
    ):
        if (wrong & valid).any():
            yield fault(f"{text} (seen at {first(wrong & valid)})")
    for name, text in LOOKED.items():
        early = ~getattr(seen.before, name) & valid
        final = ~getattr(seen.after, name) & ends
        if early.any():
            yield fault(f"{text} (seen at {first(early)})")
        elif final.any():
            where = f"in the terminal state, after {first(final)}"
            yield fault(f"{text} (seen {where}; learners read it too)")
    yield from _length_faults(spec, seen, ends)
    yield from _return_faults(spec, seen, ends)


def _length_faults(spec: EnvSpec, seen: Seen, ends: Any) -> Iterator[Finding]:
    """Ends of episodes against the time limit."""
    limit = spec.episode_limit
    longest = int((seen.step * seen.valid).max())
    if longest > limit:
        yield fault(
            f"an episode had step {longest} with spec.episode_limit={limit}; end it by "
            "then with truncated, or raise the limit"
        )
        return
    if _begins_anew(limit, seen):
        yield fault(
            "step resets the world when an episode ends; it has to return the terminal "
            "state, for callers reset it themselves"
        )
    cut = ends & seen.truncated
    if (seen.step[cut] < limit).any():
        early = int(seen.step[cut].min())
        yield fault(
            f"an episode was truncated after {early} steps with spec.episode_limit="
            f"{limit}, and learners keep one cut a limit; truncated is for the time "
            "limit, terminated for what ends by itself"
        )
    if not cut.any() and (seen.step[ends] == limit).all():
        yield note(
            f"every episode ended with terminated at the time limit ({limit} steps): "
            "what comes after counts nothing; say truncated if the clock alone ends it"
        )


def _begins_anew(limit: int, seen: Seen) -> bool:
    """Whether a world that nobody reset was cut by the time limit a second time."""
    for w in range(seen.truncated.shape[1]):
        over = np.flatnonzero(seen.terminated[:, w] | seen.truncated[:, w])
        left = len(over) > 1 and not seen.valid[over[0] + 1 :, w].any()
        gap = over[1] - over[0] if left else 0
        if gap == limit > 1 and seen.truncated[over[1], w]:
            return True
    return False


def _return_faults(spec: EnvSpec, seen: Seen, ends: Any) -> Iterator[Finding]:
    """Returns against the best one."""
    most = spec.max_return
    if most is not None and not most > 0:
        yield fault(f"spec.max_return: got {most}; allowed: above 0, or None")
    elif most is not None and (got := seen.ret[ends].max(initial=0.0)) > most * 1.0001:
        yield fault(
            f"an episode returned {got:.4g}, and spec.max_return={most:.4g} is the "
            "return of a perfect one"
        )
    if not (seen.reward * seen.valid).any():
        yield note(f"no reward was seen in {ends.sum()} random episodes")
