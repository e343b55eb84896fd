"""Starts a worker by the path of this file, in any interpreter.

Only this package becomes importable: putting its parent folder on the path would
also offer the learner's other packages, whose versions the game cannot use.
"""

import importlib
import runpy
import sys
import types
from pathlib import Path

UNFIT = 78  # exit status: this interpreter lacks what every worker needs


def main() -> None:
    """Runs the worker as if ``rolemarl_jax`` were installed here."""
    here = Path(__file__).resolve().parent
    if sys.path and Path(sys.path[0] or ".").resolve() == here:
        del sys.path[0]  # its modules are no top-level modules
    for name in ("numpy", "zmq"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"{sys.executable}: {error}; pip install numpy pyzmq")
            sys.exit(UNFIT)
    package = types.ModuleType("rolemarl_jax")
    package.__path__ = [str(here.parents[1])]
    sys.modules["rolemarl_jax"] = package
    runpy.run_module("rolemarl_jax.bridge.worker", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
