"""Commands of rolemarl_jax; each explains its options with --help.

python -m experiments <command> key=value ...    (installed: rolemarl <command> ...)
"""

import ast
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from rolemarl_jax.config import nearest

HERE = Path(__file__).parent
COMMANDS = {
    "run": "run.py",
    "evaluate": "evaluate.py",
    "plot": "plot.py",
    "table": "table.py",
    "leaderboard": "leaderboard.py",
    "report": "report.py",
    "render": "render.py",
    "summarise": "summarise.py",
    "release": "release.py",
    "reproduce": "reproduce.py",
    "battles": "battles.py",
    "check_env": "check_env.py",
    "check_method": "check_method.py",
    "bench": "bench/__main__.py",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Hands the rest of a command line to the command that it begins with.

    Raises:
        SystemExit: status 2 for an unknown command; that of the command otherwise.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("--help", "-h"):
        from experiments.door import cli

        cli.guard(lambda: print(text()))
        return
    name, *rest = arguments
    if name not in COMMANDS:
        known = nearest(name, COMMANDS)
        print(f"error: command: got '{name}'; {known}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"experiments.{name}", *rest]
    runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)


def text() -> str:
    """What each command does, in a line."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {_first(path)}" for name, path in COMMANDS.items()]
    return "\n".join([(__doc__ or "").strip(), "", "Commands:", *lines])


def _first(path: str) -> str:
    """First line of a command's docstring, without importing it."""
    parsed = ast.parse((HERE / path).read_text(encoding="utf8"))
    return (ast.get_docstring(parsed) or "").split("\n")[0]


if __name__ == "__main__":
    main()
