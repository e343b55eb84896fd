"""Processes that meet before each of them trains its own seeds.

They meet in the key-value store of ``jax.distributed`` and part before training
begins: from then on no host waits for another, a lost one costs its own seeds only,
and a program contains nothing but this process's devices.
"""

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax

# jax has no public name for its key-value store. A state of our own leaves jax's
# global one alone, so that devices and checkpoints stay those of a single process.
from jax._src.distributed import State

from rolemarl_jax.config import ConfigError
from rolemarl_jax.run_config import SweepConfig

FROM_CLUSTER = "auto"
ARRIVAL_SECONDS = 300  # until all processes have to be there
ANSWER_SECONDS = 3600  # until all have to answer; planning compiles


@dataclass(frozen=True)
class Meeting:
    """What a process knows of the others.

    Attributes:
        process: number of this one.
        processes: how many there are.
        exchange: ``(topic, value) -> values of all``, in order of the processes; what
            JSON can hold. Every process has to ask for the same topics.
    """

    process: int
    processes: int
    exchange: Callable[[str, Any], list[Any]]


@contextmanager
def meet(sweep: SweepConfig) -> Iterator[Meeting]:
    """Waits for all processes and leaves together with them.

    Raises:
        ConfigError: keys that do not fit each other, or processes that do not come.
    """
    check(sweep)
    state = State()
    # It would take SIGTERM, which lets a run save itself.
    jax.config.update("jax_enable_preemption_service", False)
    detected = sweep.coordinator == FROM_CLUSTER
    # jax ends a process, without an exception, for which the others do not come.
    print(f"waiting up to {ARRIVAL_SECONDS} s for all processes of the sweep")
    try:
        if not detected and sweep.process:
            _wait_for(str(sweep.coordinator))
        state.initialize(
            coordinator_address=None if detected else sweep.coordinator,
            num_processes=sweep.processes,
            process_id=sweep.process,
            initialization_timeout=ARRIVAL_SECONDS,
        )
    except (ValueError, RuntimeError, OSError) as error:
        first = str(error).strip().split("\n")[0]
        raise ConfigError(
            f"sweep.coordinator: got '{sweep.coordinator}', and the processes did not "
            f"meet there within {ARRIVAL_SECONDS} s ({first}); allowed: host:port of "
            "process 0 that all hosts reach, with sweep.processes and sweep.process, "
            f"or '{FROM_CLUSTER}' inside a Slurm step"
        ) from None
    try:
        yield Meeting(state.process_id, state.num_processes, _exchange(state))
    finally:
        state.shutdown()


def check(sweep: SweepConfig) -> None:
    """Refuses keys that do not fit each other.

    Raises:
        ConfigError: names the key.
    """
    if sweep.coordinator == FROM_CLUSTER:
        return
    address = sweep.coordinator
    if address is not None and not re.fullmatch(r"\S+:\d{1,5}", address):
        raise ConfigError(
            f"sweep.coordinator: got '{address}'; allowed: host:port of process 0, "
            f"or '{FROM_CLUSTER}' inside a Slurm step"
        )
    if sweep.processes is None or sweep.process is None:
        missing = "processes" if sweep.processes is None else "process"
        raise ConfigError(
            f"sweep.{missing}: got null; sweep.processes (how many) and sweep.process "
            "(number of this one, from 0) belong together"
        )
    if sweep.process >= sweep.processes:
        raise ConfigError(
            f"sweep.process: got {sweep.process}; allowed: 0 to {sweep.processes - 1} "
            f"with sweep.processes={sweep.processes}"
        )


def _wait_for(address: str) -> None:
    """Returns when process 0 listens; raises ``OSError`` if it never does."""
    host, port = address.rsplit(":", 1)
    host = host.strip("[]")  # of an IPv6 address
    until = time.monotonic() + ARRIVAL_SECONDS
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def _exchange(state: State) -> Callable[[str, Any], list[Any]]:
    client: Any = state.client

    def exchange(topic: str, value: Any) -> list[Any]:
        client.key_value_set(f"rolemarl/{topic}/{state.process_id}", json.dumps(value))
        return [
            json.loads(
                client.blocking_key_value_get(
                    f"rolemarl/{topic}/{process}", ANSWER_SECONDS * 1000
                )
            )
            for process in range(state.num_processes)
        ]

    return exchange
