"""Keeps workers running on a host that has games but no learner.

    python -m rolemarl_jax.bridge.host --connect tcp://learner:5555 --key-file FILE
        --workers 8 --python PYTHON

Workers that end, for whatever reason, are cleaned up and started again, so one learner
may follow another. Ends with all of them at SIGINT or SIGTERM.
"""

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from rolemarl_jax.bridge.worker.launch import UNFIT
from rolemarl_jax.bridge.worker.process import Child, session_folder, start

PAUSE_S = 2.0  # between the end of a worker and the start of the next


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Keeps workers running.")
    parser.add_argument("--connect", required=True, help="endpoint of the learner")
    parser.add_argument("--key-file", required=True, help="shared key")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--python", help="interpreter of the workers; this one if none")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    session = session_folder()
    children: dict[int, Child] = {}
    try:
        keep(args, session, children)
    except KeyboardInterrupt:
        pass
    finally:
        for child in children.values():
            child.kill()
        shutil.rmtree(session, ignore_errors=True)


def keep(args: argparse.Namespace, session: Path, children: dict[int, Child]) -> None:
    """Starts workers, and again whenever one has ended; returns never."""
    began = 0
    arguments = ["--connect", args.connect, "--key-file", args.key_file]
    while True:
        for place in range(args.workers):
            child = children.get(place)
            if child is not None and child.alive():
                continue
            if child is not None:
                print(
                    f"worker {place} ended ({child.how()}); {child.log()}", flush=True
                )
                unfit = child.process.returncode == UNFIT
                children.pop(place).kill()
                if unfit:
                    sys.exit(2)
            name = f"worker-{place}-{began}"
            began += 1
            children[place] = start(args.python, arguments, session, name, {})
        time.sleep(PAUSE_S)


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
