"""Measures speed and memory.

python -m experiments.bench suite=update out=bench.json docs=docs/benchmarks.md
"""

import importlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.door import cli, devices
from experiments.door.cli import Option
from rolemarl_jax.config import ConfigError, nearest
from rolemarl_jax.disk import files
from rolemarl_jax.sweep.cards import target

SUITES = ("env", "update", "train", "memory", "bridge")
# Suites that need something besides this package, or hours; not of suite=all.
SPECIAL = ("peer", "race", "sweep", "card", "attached")
OPTIONS = {
    "suite": Option("all", f"{', '.join((*SUITES, *SPECIAL))}; all: those before peer"),
    "out": Option(None, "JSON file to write"),
    "docs": Option(None, "Markdown file that gets a table appended"),
    "threads": Option(1, "cores that the process may use, 0 for all"),
    "algo": Option([], "algorithms; what a suite takes by default if empty"),
    "lengths": Option([60, 120], "episode lengths of suite=update"),
    "map": Option("2s3z", "of suites train, memory, peer, race, sweep, card, attached"),
    "maps": Option(
        ["2s3z", "27m_vs_30m", "MMM2", "corridor"], "of suites env and attached"
    ),
    "worlds": Option(128, "of suite=env"),
    "steps": Option(50, "of one call in suite=env"),
    "seconds": Option(
        20.0, "of each measurement in suites train, sweep, peer and bridge"
    ),
    "peer": Option(
        None, "a checkout of JaxMARL, of suites peer, race, sweep, attached"
    ),
    "hidden": Option([64, 512], "network sizes of suite=peer"),
    "seeds": Option(
        [],
        "suites sweep (1, 2, 4, ... if empty) and attached: how many; suite=race: "
        "which; suite=card: how many the hours are told of",
    ),
    "win_rate": Option(0.8, "goal of suite=race"),
    "race_steps": Option(1_000_000, "env steps after which suite=race gives up"),
    "peers": Option([], "learners of JaxMARL's in suite=race, see its PEERS"),
    "peer_lr": Option(5e-5, "learning rate of the peer's QMIX in suite=race"),
    "seeds_by": Option(["map", "vmap"], "of suite=sweep"),
    "workers": Option([1, 4, 8], "of suite=bridge"),
    "card": Option(
        None, "of suite=card: a100, h100, h200, which need not be there; null: attached"
    ),
    "run": Option("paper", "lengths and sizes of suite=card"),
    "together": Option(64, "seeds batched together in suite=card"),
    "scale": Option("card", "sizes of suite=attached: card, or tiny to try it without"),
    "parts": Option(
        [], "of suite=attached: peak, simulator, iteration, seeds, goal, peer; [] all"
    ),
    "minutes": Option(9.5, "after which suite=attached begins nothing more"),
    "wave": Option(
        0, "programs of suite=attached compiled side by side; 0: half the cores"
    ),
    "total_steps": Option(2_000_000, "env steps a seed in the hours of suite=card"),
    **{
        f"{section}.": Option({}, f"key of a run's {section} in suite=card")
        for section in ("algo", "env", "train", "replay", "eval")
    },
}


def main() -> None:
    """Entry point; options are listed in ``OPTIONS``."""
    cli.guard(lambda: _main(cli.options(OPTIONS, None, __doc__)))


def _main(options: dict[str, Any]) -> None:
    suites = SUITES if options["suite"] == "all" else (options["suite"],)
    unknown = [name for name in suites if name not in (*SUITES, *SPECIAL)]
    if unknown:
        known = nearest(str(unknown[0]), (*SUITES, *SPECIAL))
        raise ConfigError(f"suite: got '{unknown[0]}'; {known}, all")
    _check(options, suites)
    _one_thread(options["threads"])
    if "card" in suites:
        target.prepare(options["card"], "card")
    from rolemarl_jax.report import provenance

    inferred = f"for {options['card']}, not attached: times are inferred"
    record: dict[str, Any] = {
        "device": inferred if options["card"] else provenance.device(),
        "threads": options["threads"],
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "date": time.strftime("%Y-%m-%d"),
        "suites": {},
    }
    for name in suites:
        module = importlib.import_module(f"experiments.bench.{name}")
        record["suites"][name] = module.run(options)
        print(_table(name, record), flush=True)
        if options["docs"]:
            _append(Path(options["docs"]), "\n" + _table(name, record))
    if options["out"]:
        out = Path(str(options["out"]))
        out.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(out, json.dumps(record, indent=2))


def _check(options: dict[str, Any], suites: Sequence[str]) -> None:
    """Refuses what would be found out after long measurements, or told wrongly.

    Raises:
        ConfigError: names the option.
    """
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    cli.whole(options, "threads", 0, cores)
    seconds = options["seconds"]
    if not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        raise ConfigError(f"seconds: got {seconds!r}; allowed: numbers above 0")
    for key in ("lengths", "seeds", "hidden"):
        bad = [x for x in options[key] if type(x) is not int or x < (key != "seeds")]
        if bad:
            raise ConfigError(f"{key}: got {bad}; allowed: whole numbers from 1")
    if options["card"] and "card" not in suites:
        raise ConfigError(
            f"card: got '{options['card']}' with suite={options['suite']}; read by "
            "suite=card"
        )
    for key in ("out", "docs"):
        if options[key]:
            files.require_writable(Path(str(options[key])), key)


def _append(path: Path, text: str) -> None:
    """Adds text to the end of a file that need not exist."""
    before = path.read_text(encoding="utf8") if path.exists() else ""
    files.write_text(path, before + text)


def _one_thread(threads: int) -> None:
    """Binds the process to some cores before jax starts; the cache stays off."""
    if threads and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    if threads == 1:
        devices.add_flags({"xla_cpu_multi_thread_eigen": "false"})


def _table(name: str, record: dict[str, Any]) -> str:
    """One suite as Markdown; rows with the same columns form one table."""
    rows = record["suites"][name]
    head = f"### {name}: {record['device']}, commit {str(record['commit'])[:10]}\n"
    threads = f"{record['threads']} thread(s)" if record["threads"] else "all cores"
    versions = record["versions"]
    lines = [f"{head}\n{record['date']}, {threads}, jax {versions.get('jax')}.\n"]
    columns: list[str] = []
    for row in rows:
        if list(row) != columns:
            columns = list(row)
            lines += ["", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        lines.append(f"| {' | '.join(_cell(value) for value in row.values())} |")
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
