"""Settings shared by all tests; they have to be made before jax is imported."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent

# `support` and `probes` are shared by tests of all folders.
sys.path.insert(0, str(REPO / "tests"))

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(REPO / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
# Most tests compile a program and run it for a moment: half the time to compile.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if version("jaxlib").startswith("0.10."):
    # Its newer emitters compile for longer; the next jaxlib has no others.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(scope="session")
def repo() -> Path:
    """Root of the checkout."""
    return REPO


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Reference material beside the checkout, else the small committed part of it.

    ``tests/data/shared`` has the layout of the full folder, so a test names its
    file once and passes in a clone that has nothing beside it.
    """
    for folder in (REPO / "shared", REPO.parent / "shared"):
        if folder.is_dir():
            return folder
    return REPO / "tests" / "data" / "shared"


@pytest.fixture(scope="module", autouse=True)
def _optimised_where_trained(request: pytest.FixtureRequest) -> Iterator[None]:
    """Programs of these folders run long enough for XLA's optimisations to pay."""
    with _optimised(request.path.parent.name in ("golden", "probes")):
        yield


@pytest.fixture(autouse=True)
def _optimised_where_slow(request: pytest.FixtureRequest) -> Iterator[None]:
    """So do those of slow tests."""
    with _optimised(request.node.get_closest_marker("slow") is not None):
        yield


@contextmanager
def _optimised(wanted: bool) -> Iterator[None]:
    import jax

    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", before and not wanted)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds ``--update-golden``."""
    parser.addoption(
        "--update-golden", action="store_true", help="store the losses of golden runs"
    )
