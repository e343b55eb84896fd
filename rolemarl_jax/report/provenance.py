"""On what a result was computed: device, versions, commit."""

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

import jax

LIBRARIES = (
    *("jax", "jaxlib", "flax", "optax", "chex", "distrax", "numpy"),
    *("orbax-checkpoint", "jaxmarl", "hydra-core", "rolemarl_jax"),
)


def device() -> str:
    """Kind and number of the devices in use, e.g. ``NVIDIA H100 x 1``."""
    devices = jax.devices()
    kind = devices[0].device_kind
    if devices[0].platform == "cpu":
        kind = f"cpu ({platform.processor() or platform.machine()})"
    return f"{kind} x {len(devices)}"


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that shape results."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str | None:
    """Commit of this code, with ``+changes`` if it was altered; None outside git.

    As it was when this process asked first, which is before anything long: by the end
    of a run its folder may hold other code.
    """
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(here.parent), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", here.name) is None:
        return None  # installed into a folder that some other repository holds
    head = git("rev-parse", "HEAD")
    # Pages are not run, and a study writes its tables there while it goes on.
    code = (":(top)", ":(top,exclude)docs")
    altered = git("status", "--porcelain", "-uno", "--", *code)
    return f"{head}+changes" if altered else head


def short(commit: str | None) -> str:
    """The first ten digits of a commit, and whether the code was altered."""
    head, plus, changes = (commit or "unknown").partition("+")
    return head[:10] + plus + changes
