"""What a run would cost a card, from the program that XLA compiles for it.

Nothing is run and no card is needed: all times are inferred. A kernel is taken to last
as long as its bytes at a share of the memory's bandwidth, as its matrix products at a
share of the data sheet's rate, or as its launch, whichever is longest; one of our own,
which takes a recurrence's steps one after another, at least as long as it waits.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from experiments.bench.cards import cost, hlo
from experiments.bench.cards.cost import Kernel
from experiments.door.compose import composed
from rolemarl_jax.sweep.cards import target
from rolemarl_jax.sweep.cards.target import Card

LAUNCH = 3e-6  # seconds
WAIT = 2e-6  # of a kernel of our own for each of the products that follow each other
# Shares of the data sheet's figures that large kernels and products of these sizes
# reach: assumptions.
OF_BANDWIDTH, OF_PRODUCTS = 0.7, 0.3
PLACES = 12  # the dearest that are listed
# Keys of a run that may be given, by section.
SECTIONS = ("algo", "env", "train", "replay", "eval")
SEEDS = 1024  # of the hours, if none are asked for
# Parts of an op's name that say how it was traced and not where.
NOISE = (
    *("while", "body", "cond", "closed_call", "jit(", "vmap(", "branch_"),
    "eval_jaxpr",
)


class Cost(NamedTuple):
    """Kernels together: launches, bytes, operations of products, inferred seconds."""

    launches: int
    bytes: int
    flops: float
    seconds: float


class Program(NamedTuple):
    """A compiled run.

    Attributes:
        cfg: its configuration.
        program: its functions.
        compiled: the same, compiled for the card.
        limit: steps of an evaluation's longest episode.
    """

    cfg: Any
    program: Any
    compiled: Any
    limit: int


def run(options: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each stage of each algorithm, then memory and hours, then places.

    Args:
        options: ``card``, ``algo``, ``map``, ``run``, ``together``, ``seeds``,
            ``total_steps``, and keys of a run by section.
    """
    card, device = target.target(options["card"])
    stages, sums, places = [], [], []
    names = options["algo"] or ["qmix", "acorm"]
    # All are looked at before the first is compiled.
    asked = {name: configured(name, options) for name in names}
    for name, cfg in asked.items():
        with target.assumed(options["card"]):
            made = compiled(cfg, device)
        found = iterations(made, card)
        stages += [{"algo": name, **_stage_row(*one)} for one in found.items()]
        sums.append({"algo": name, **_sum_row(made, found, card, options)})
        stages_of, last = len(made.program.stages), len(made.program.stages) - 1
        every, _ = kernels(made.compiled.segment, stages_of, last, 1)
        places += [{"algo": name, **row} for row in by_place(every, card)]
        print(*stages[-len(found) :], sums[-1], sep="\n", flush=True)
    return stages + sums + places


def words(name: str, options: dict[str, Any]) -> list[str]:
    """What would stand on the command line of ``experiments.run``."""
    chosen = [f"algo={name}", f"env.map={options['map']}", f"run={options['run']}"]
    own = [
        f"{section}.{key}={value}"
        for section in SECTIONS
        for key, value in options[f"{section}."].items()
    ]
    return [*chosen, "train.seeds_by=vmap", *own, f"seeds={options['together']}"]


def configured(name: str, options: dict[str, Any]) -> Any:
    """A run of so many seeds as are batched together."""
    from rolemarl_jax.config import build
    from rolemarl_jax.run_config import RunConfig

    values = {**composed(words(name, options)).values, "run_dir": ""}
    return build(RunConfig, values, "")


def compiled(cfg: Any, device: Any) -> Program:
    """A run, compiled for a device."""
    import envs
    from rolemarl_jax.learners import make_learner
    from rolemarl_jax.program.compiled import compile_program
    from rolemarl_jax.program.program import make_program

    env = envs.make_compiled(cfg.env)
    program = make_program(cfg, env, make_learner(cfg.algo, env.spec), [device])
    return Program(cfg, program, compile_program(program, cfg), env.spec.episode_limit)


def iterations(made: Program, card: Card) -> dict[str, tuple[Cost, Cost]]:
    """Cost of one iteration of each stage, and of one evaluation.

    The second figure has every step that is due only now and then.
    """
    count = len(made.program.stages)
    found = {
        stage.name: kernels(made.compiled.segment, count, i, 1)
        for i, stage in enumerate(made.program.stages)
    }
    found["evaluation"] = kernels(made.compiled.evaluate, 0, 0, made.limit)
    return {
        name: (together(least, card), together(most, card))
        for name, (least, most) in found.items()
    }


def kernels(
    function: Any, stages: int, stage: int, unknown: int
) -> tuple[list[Kernel], list[Kernel]]:
    """Kernels of one iteration with nothing due, and with everything.

    Args:
        function: compiled.
        stages: how many it chooses from. stage: which is taken.
        unknown: iterations of loops whose number XLA does not know.
    """
    module = hlo.parse(function.as_text())

    def walk(choose: Any) -> list[Kernel]:
        def dearest(branches: list[list[Kernel]]) -> list[Kernel]:
            return choose(branches, key=lambda b: sum(k.times * k.bytes for k in b))

        return cost.kernels(cost.Walk(module, stages, stage, unknown, dearest))

    return walk(min), walk(max)


def together(kernels: Iterable[Kernel], card: Card) -> Cost:
    """What kernels cost together."""
    listed = list(kernels)
    return Cost(
        sum(k.times for k in listed),
        sum(k.times * k.bytes for k in listed),
        sum(k.times * k.flops for k in listed),
        sum(k.times * seconds(k, card) for k in listed),
    )


def seconds(kernel: Kernel, card: Card) -> float:
    """Inferred time of one launch."""
    rate = card.products.get(kernel.kind, card.products["f32"])
    return max(
        LAUNCH,
        WAIT * kernel.waits,
        kernel.bytes / (OF_BANDWIDTH * card.bandwidth),
        kernel.flops / (OF_PRODUCTS * rate),
    )


def by_place(kernels: Iterable[Kernel], card: Card) -> list[dict[str, Any]]:
    """The dearest places of an iteration, a row each."""
    groups: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in kernels:
        groups[place(kernel.place)].append(kernel)
    sums = {name: together(group, card) for name, group in groups.items()}
    dearest = sorted(sums.items(), key=lambda one: -one[1].seconds)[:PLACES]
    return [{"place": name, **_cells(one)} for name, one in dearest]


def place(path: str) -> str:
    """Where in the program, without how it was traced and the operation's name."""
    parts = path.split("/")[:-1]
    kept = [part for part in parts if not part.startswith(NOISE)]
    return "/".join(kept) or ("update" if "jit(_update)" in path else "collection")


def _cells(one: Cost) -> dict[str, Any]:
    return {
        "kernels": one.launches,
        "GB": one.bytes / 1e9,
        "product TFLOP": one.flops / 1e12,
        "inferred ms": 1e3 * one.seconds,
    }


def _stage_row(name: str, found: tuple[Cost, Cost]) -> dict[str, Any]:
    least, most = found
    return {"iteration of": name, **_cells(least), "with all due": 1e3 * most.seconds}


def _sum_row(
    made: Program,
    found: dict[str, tuple[Cost, Cost]],
    card: Card,
    options: dict[str, Any],
) -> dict[str, Any]:
    """Memory, and hours of as many seeds and steps as are asked for."""
    batch, footprint = made.program.members, made.compiled.footprint
    room = made.cfg.sweep.fraction * card.memory
    working = footprint.working * batch
    row: dict[str, Any] = {
        "together": batch,
        "temporaries, GB": working / 1e9,
        "MB a seed": footprint.state / 1e6,
        "fit, all together": int(room * batch / made.compiled.peak),
        # A batch's states lie beside those of all seeds while it is computed.
        "fit, so many together": int((room - working) / footprint.state) - batch,
    }
    steps = options["total_steps"]
    for seeds in options["seeds"] or [SEEDS]:
        hours = math.ceil(seeds / batch) * _run_seconds(made, found, steps) / 3600
        row[f"inferred hours, {seeds:,} x {steps:,}"] = hours
    return {**row, "compile, s": made.compiled.seconds}


def _run_seconds(
    made: Program, found: dict[str, tuple[Cost, Cost]], steps: int
) -> float:
    """Inferred time of a whole run of one batch, without what is due now and then."""
    left = -(-steps // (made.program.ticks * made.program.worlds))
    total = steps // made.cfg.eval.every * found["evaluation"][0].seconds
    for stage in made.program.stages:
        count = left if stage.iterations is None else min(left, stage.iterations)
        total += count * found[stage.name][0].seconds
        left -= count
    return total
