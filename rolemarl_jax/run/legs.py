"""What a run will do, laid out before it begins."""

from typing import NamedTuple

from rolemarl_jax.config import INT32, ConfigError
from rolemarl_jax.program.program import Program
from rolemarl_jax.run_config import RunConfig

ROWS = 1_000_000  # of a split, a seed: more could be neither laid out nor drawn


class Leg(NamedTuple):
    """A stretch of iterations within one stage, run as one segment.

    Attributes:
        first: iterations done before it.
        iterations: its own.
        stage: index.
        update: updates of its stage before it.
        evaluate: whether an evaluation follows it.
        save: whether a checkpoint follows it.
    """

    first: int
    iterations: int
    stage: int
    update: int
    evaluate: bool
    save: bool


def lay_out(cfg: RunConfig, program: Program) -> list[Leg]:
    """All legs of a run from its beginning.

    Legs end at multiples of ``log_every``, at the ends of stages and at the end of the
    run; evaluations and checkpoints at multiples of theirs, and at the end.

    Raises:
        ConfigError: intervals that do not divide each other, or a run that ends before
            training begins.
    """
    check_intervals(cfg)
    per_iteration = program.worlds * program.ticks
    total = -(-cfg.total_steps // per_iteration)
    before = sum(stage.iterations or 0 for stage in program.stages)
    if total <= before:
        raise ConfigError(
            f"total_steps: got {cfg.total_steps}; warm-up and pre-training alone take "
            f"{before * per_iteration}; allowed: more than that"
        )
    require_countable(cfg, total * per_iteration, program.worlds)

    def marks(every: int) -> set[int]:
        """Iterations at whose end a multiple of ``every`` env steps is reached."""
        steps = range(every, total * per_iteration, every)
        return {-(-step // per_iteration) for step in steps} | {total}

    evaluate, save = marks(cfg.eval.every), marks(cfg.checkpoint.every)
    log = marks(cfg.log_every)
    legs: list[Leg] = []
    start = 0
    for index, stage in enumerate(program.stages):
        end = total if stage.iterations is None else start + stage.iterations
        cuts = sorted({mark for mark in log if start < mark < end} | {end})
        for first, last in zip([start, *cuts], cuts, strict=False):
            update = (first - start) * program.updates
            leg = Leg(
                first=first,
                iterations=last - first,
                stage=index,
                update=update,
                evaluate=last in evaluate,
                save=last in save,
            )
            legs.append(leg)
        start = end
    return [leg for leg in legs if leg.iterations]


def require_countable(cfg: RunConfig, steps: int, worlds: int) -> None:
    """Refuses a run whose counters, which are int32 on a device, would wrap.

    Those of env steps, and of slots of replay that were ever written in a lane: with
    terminal observations these are up to twice the steps of its world.

    Args:
        cfg: of the run.
        steps: env steps with which it ends, ``total_steps`` or a bit more.
        worlds: that share them.

    Raises:
        ConfigError: names the key.
    """
    most = INT32 * worlds // max(worlds, 2)
    if steps > most:
        raise ConfigError(
            f"total_steps: got {cfg.total_steps}, which ends with {steps:,} env steps; "
            f"allowed in {worlds} worlds: up to {most:,}, as devices count in int32"
        )


def check_intervals(cfg: RunConfig) -> None:
    """Refuses intervals that do not divide each other, and more rows than anyone reads.

    Raises:
        ConfigError: names the key.
    """
    rows = cfg.total_steps // cfg.log_every
    if rows > ROWS:
        raise ConfigError(
            f"log_every: got {cfg.log_every}, {rows:,} rows "
            f"in total_steps={cfg.total_steps}; allowed: at most {ROWS:,} rows"
        )
    for name, value, base_name, base in (
        ("eval.every", cfg.eval.every, "log_every", cfg.log_every),
        ("checkpoint.every", cfg.checkpoint.every, "eval.every", cfg.eval.every),
    ):
        if value % base:
            raise ConfigError(
                f"{name}: got {value}; allowed: multiples of {base_name}={base}"
            )


def remaining(legs: list[Leg], done: int, updates: int) -> list[Leg]:
    """Legs after ``done`` iterations; one that was cut short is taken up inside.

    Args:
        updates: learner updates of one iteration.
    """
    left: list[Leg] = []
    for leg in legs:
        past = max(0, done - leg.first)
        if past < leg.iterations:
            left.append(
                leg._replace(
                    first=leg.first + past,
                    iterations=leg.iterations - past,
                    update=leg.update + past * updates,
                )
            )
    return left
