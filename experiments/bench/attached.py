"""What the attached card does, as far as some minutes reach, in one command.

Peak rates, the simulator alone, iterations of every algorithm beside their inferred
times, speed by number of seeds, and a run of many seeds until its goal. A part that
fails is a row that says why, and the others go on.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from experiments.bench import peer
from experiments.bench.parts import measures
from experiments.bench.parts.turns import Part, Row, take_turns
from experiments.door.compose import composed
from rolemarl_jax.config import ConfigError, nearest

SCAN, KERNEL = "algo.recurrence=scan", "algo.recurrence=kernel"
BOTH = ("qmix", "acorm", "roma", "mappo", "eoi")  # timed in both forms of recurrences
HALF = ("qmix", "acorm", "mappo")  # in bfloat16, too
MAIN = (
    *("pqn_qmix", "pqn_acorm", "pqn_roma", "pqn_eoi", "iql", "vdn", "qmix_nps"),
    *("qmix_lar", "eoi_explore", "ippo", "maac", "eoi_maac", "acorm_mappo"),
)
SCALED, SWEPT = ("qmix", "acorm"), ("2s3z", "3m")  # whose seeds are counted up, where
SLOW = ("r3dm", "pqn_r3dm")  # minutes to compile
GOALS = ("pqn_qmix",)  # trained until they win so often
WIN_RATE = 0.8


class Scale(NamedTuple):
    """How large everything is: for a card, or to try the command without one."""

    product: int
    worlds: int  # of the simulator alone
    steps: int  # of one of its calls
    run: str  # lengths and sizes of iterations
    together: int  # seeds in a batch
    seeds: tuple[int, ...]
    many: int  # seeds that are trained to the goal
    seconds: float  # of one measurement
    patience: float  # of training to the goal


SCALES = {
    "card": Scale(8192, 8192, 50, "paper", 64, (1, 8, 64, 256, 1024), 1024, 2.0, 60.0),
    "tiny": Scale(256, 16, 5, "debug", 2, (1, 2), 2, 0.1, 2.0),
}


def run(options: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows by table; the parts in the order in which they matter.

    Args:
        options: ``scale``, ``parts`` (tables, all if empty), ``algo`` (of iterations
            and seeds), ``seeds`` (how many), ``map`` (of iterations), ``maps`` (of the
            simulator), ``minutes``, ``wave`` and ``peer``.

    Raises:
        ConfigError: an unknown scale or part, or no checkout of the peer where one is
            named.
    """
    if options["scale"] not in SCALES:
        known = nearest(str(options["scale"]), SCALES)
        raise ConfigError(f"scale: got '{options['scale']}'; {known}")
    asked = parts(SCALES[options["scale"]], options)
    tables: dict[str, list[Row]] = defaultdict(list)
    began = time.monotonic()
    # A program's compilation keeps about two cores busy.
    wave = options["wave"] or max(1, (os.cpu_count() or 1) // 2)
    for part, found in take_turns(asked, 60 * options["minutes"], wave):
        row = {**part.labels, **(found if isinstance(found, dict) else {})}
        row["note"] = found if isinstance(found, str) else None
        print(f"{time.monotonic() - began:.0f} s", row, flush=True)
        tables[str(part.labels["part"])].append(row)
    return [row for rows in tables.values() for row in _alike(rows)]


def parts(scale: Scale, options: dict[str, Any]) -> list[Part]:
    """All that are asked for, in order."""
    listed = {
        "peak": [_part("peak", measures.products, size=scale.product)],
        "simulator": [*_simulators(scale, options["maps"])],
        "iteration": [*_iterations(scale, options["map"], options["algo"])],
        "seeds": [*_seeds(scale, options["algo"], options["seeds"] or scale.seeds)],
        "goal": [*_goals(scale)],
        "peer": [*_peers(scale, options["peer"])],
    }
    unknown = [name for name in options["parts"] if name not in listed]
    if unknown:
        raise ConfigError(f"parts: got '{unknown[0]}'; {nearest(unknown[0], listed)}")
    chosen = options["parts"] or listed
    return [
        part._replace(arguments={"seconds": scale.seconds, **part.arguments})
        for name in chosen
        for part in listed[name]
    ]


def _part(name: str, measure: Any, labels: Row | None = None, **arguments: Any) -> Part:
    return Part({"part": name, **(labels or {})}, measure, arguments)


def _simulators(scale: Scale, maps: Iterable[str]) -> Iterable[Part]:
    for name in maps:
        labels = {"map": name, "worlds": scale.worlds}
        sizes = {"worlds": scale.worlds, "steps": scale.steps}
        yield _part("simulator", measures.battle, labels, map_name=name, **sizes)


def _iterations(scale: Scale, world: str, names: list[str]) -> Iterable[Part]:
    """One for each algorithm and form of its recurrences, or of its numbers."""
    kernel, half = (KERNEL,), (KERNEL, "algo.precision=bfloat16")
    forms = [(name, form) for name in BOTH for form in ((SCAN,), kernel)]
    forms += [(name, half) for name in HALF]
    forms += [(name, _fastest(name)) for name in (*MAIN, *SLOW)]
    for name, form in forms:
        if names and name not in names:
            continue
        yield _training(
            "iteration", name, world, scale.together, [f"run={scale.run}", *form], form
        )


def _seeds(scale: Scale, names: list[str], counts: Iterable[int]) -> Iterable[Part]:
    for world in SWEPT:
        for name in names or SCALED:
            for seeds in counts:
                batch = min(seeds, scale.together)
                words = [f"train.seeds_together={batch}", *_fastest(name)]
                words += ["run=debug"] if scale.run == "debug" else []
                yield _training("seeds", name, world, seeds, words, ())


def _training(
    part: str, name: str, world: str, seeds: int, words: list[str], form: tuple
) -> Part:
    told = ", ".join(word.removeprefix("algo.") for word in form) or None
    labels = {"algo": name, "map": world, "seeds": seeds}
    labels |= {"form": told} if part == "iteration" else {}
    words = [f"algo={name}", f"env.map={world}", "train.seeds_by=vmap", *words]
    return _part(part, measures.training, labels, words=words, seeds=seeds)


def _fastest(name: str) -> tuple[str, ...]:
    """The form of recurrences for a card, of an algorithm that has a choice."""
    values = composed([f"algo={name}"]).values["algo"]
    return (KERNEL,) if "recurrence" in values else ()


def _goals(scale: Scale) -> Iterable[Part]:
    for name in GOALS:
        words = [f"algo={name}", "env.map=3m", "train.seeds_by=vmap", *_fastest(name)]
        words += ["run=debug"] if scale.run == "debug" else ["total_steps=1000000"]
        yield _part(
            "goal",
            measures.goal,
            {"algo": name, "map": "3m", "seeds": scale.many},
            words=words,
            seeds=scale.many,
            win_rate=WIN_RATE,
            seconds=scale.patience,
        )


def _peers(scale: Scale, path: str | None) -> Iterable[Part]:
    """JaxMARL's QMIX and ours at its settings, where a checkout is named."""
    if path is None:
        return
    checkout, hidden = peer.checkout(path), 64
    for seeds in scale.seeds:
        labels = {"QMIX of": "JaxMARL", "map": "3m", "seeds": seeds}
        sizes = {"world": "3m", "seeds": seeds, "hidden": hidden}
        yield _part("peer", measures.peers, labels, path=str(checkout), **sizes)
        words = [*peer.as_peer(hidden, "3m"), "train.seeds_by=vmap", KERNEL]
        ours = labels | {"QMIX of": "ours"}
        yield _part("peer", measures.training, ours, words=words, seeds=seeds)


def _alike(rows: list[Row]) -> list[Row]:
    """The same columns for all rows of a table; notes last, if there are any."""
    columns = dict.fromkeys(key for row in rows for key in row if key != "note")
    noted = ["note"] if any(row["note"] for row in rows) else []
    return [{key: row.get(key) for key in (*columns, *noted)} for row in rows]
