"""Command lines that a person may copy: of the interpreter that runs now."""

import shlex
import shutil
import sys
from pathlib import Path


def command(name: str, *arguments: str) -> str:
    """``.venv/bin/python -m experiments.<name> ...``, quoted for bash and zsh.

    Args:
        name: of the command.
        arguments: as they would be typed without a shell.
    """
    words = (_interpreter(), "-m", f"experiments.{name}", *arguments)
    return " ".join(map(shlex.quote, words))


def _interpreter() -> str:
    """This interpreter: ``python`` where that is it, or its path from here."""
    own = Path(sys.executable)
    for name in ("python", "python3"):
        found = shutil.which(name)
        if found is not None and Path(found) == own:
            return name
    here = Path.cwd()
    return str(own.relative_to(here) if own.is_relative_to(here) else own)
