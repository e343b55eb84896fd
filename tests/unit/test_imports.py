"""Imports point one way, and third-party packages stay behind their fences."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
OURS = ("rolemarl_jax", "envs", "experiments")

# A room of rolemarl_jax may import what stands in its own line or in one above it; its
# loose modules are the vocabulary that all others speak.
ROOMS = (
    (
        "types",
        "bounds",
        "config",
        "run_config",
        "maps",
        "rng",
        "members",
        "trees",
        "reads",
        "stops",
        "outside",
    ),
    ("disk",),
    ("report",),
    ("ops",),
    ("nets",),
    ("roles",),
    ("learners",),
    ("checks",),
    ("experience",),
    ("program",),
    ("run",),
    ("sweep",),
    ("bridge",),
)
RANK = {name: rank for rank, names in enumerate(ROOMS) for name in names}

# What runs in the foreign interpreter: nothing else of ours, and two packages.
WORKER = "rolemarl_jax.bridge.worker"
WORKER_PACKAGES = {"numpy", "zmq"}
SIMULATORS = {"smac", "smacv2", "pysc2", "gymnasium", "gfootball", "absl"}

# Package -> prefixes of the only files that may import it.
FENCES = {
    "hydra": ("experiments/",),
    "omegaconf": ("experiments/",),
    "wandb": ("rolemarl_jax/report/loggers.py", "rolemarl_jax/report/wandb_files.py"),
    "tensorboardX": ("rolemarl_jax/report/loggers.py",),
    "orbax": ("rolemarl_jax/disk/checkpoint.py",),
    "distrax": ("rolemarl_jax/nets/dists.py",),
    "rich": ("rolemarl_jax/report/progress.py",),
    "jaxmarl": ("envs/", "experiments/bench"),
    "smac": ("rolemarl_jax/bridge/worker/games/",),
    "smacv2": ("rolemarl_jax/bridge/worker/games/",),
    "pysc2": ("rolemarl_jax/bridge/worker/games/",),
    "gymnasium": ("rolemarl_jax/bridge/worker/games/",),
    "gfootball": ("rolemarl_jax/bridge/worker/games/",),
    "zmq": ("rolemarl_jax/bridge/",),
}


def imports(source, module):
    """Absolute dotted names of everything that a file imports, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: -node.level]
                base = ".".join([*parents, base] if base else parents)
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def our_files():
    paths = [path for top in OURS for path in (REPO / top).rglob("*.py")]
    return [path.relative_to(REPO) for path in sorted(paths)]


def imports_of(path):
    module = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    if path.name == "__init__.py":
        module += ".__init__"
    return imports((REPO / path).read_text(encoding="utf8"), module)


def faults_of(path, imported):
    """What a file imports although it must not."""
    top, faults = path.parts[0], []
    for name in imported:
        parts = name.split(".")
        allowed = FENCES.get(parts[0])
        if allowed and not path.as_posix().startswith(allowed):
            faults.append(f"{name} (only in {', '.join(allowed)})")
        elif top == "rolemarl_jax" and parts[0] in ("envs", "experiments"):
            faults.append(f"{name} (the library knows neither)")
        elif top == "envs" and parts[0] == "experiments":
            faults.append(f"{name} (environments know no command line)")
        elif top == "envs" and parts[0] == "rolemarl_jax":
            if parts[1:2] not in (
                ["types"],
                ["config"],
                ["trees"],
                ["reads"],
                ["outside"],
            ):
                faults.append(f"{name} (only rolemarl_jax's vocabulary)")
        elif top == "rolemarl_jax" == parts[0] and len(path.parts) > 1:
            own = path.with_suffix("").parts[1]
            target = parts[1] if len(parts) > 1 else "__init__"
            # The package's own face names what is in all rooms, and imports it late.
            if own != "__init__" and RANK.get(target, -1) > RANK[own]:
                faults.append(f"{name} (a higher layer)")
    return faults


@pytest.mark.parametrize("path", our_files(), ids=str)
def test_imports_point_down(path):
    assert faults_of(path, imports_of(path)) == []


def test_every_room_has_a_rank_and_every_rank_a_room():
    found = [
        path.with_suffix("").name
        for path in (REPO / "rolemarl_jax").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    ]
    assert sorted(found) == sorted([*RANK, "__init__"])


WORKER_FILES = [path for path in our_files() if "bridge/worker" in path.as_posix()]


def foreign_to_workers(path, imported):
    """What a worker's interpreter need not have, of all that a file imports."""
    allowed = sys.stdlib_module_names | WORKER_PACKAGES
    if "games" in path.parts:
        allowed |= SIMULATORS
    return [
        name
        for name in sorted(imported)
        if name.partition(".")[0] not in allowed
        and not (name == WORKER or name.startswith(f"{WORKER}."))
    ]


@pytest.mark.parametrize("path", WORKER_FILES, ids=str)
def test_workers_import_only_what_their_interpreter_has(path):
    assert foreign_to_workers(path, imports_of(path)) == []


def test_a_worker_starts_without_our_dependencies():
    """As ``launch`` does it, in an interpreter that lacks what the learner needs."""
    modules = [
        ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        for path in WORKER_FILES
        if path.stem != "__main__"
    ]
    code = f"""
import importlib, importlib.abc, sys, types
class Poor(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("jax", "pydantic", "flax", "optax", "yaml"):
            raise ImportError(name + " is not there")
sys.meta_path.insert(0, Poor())
package = types.ModuleType("rolemarl_jax")
package.__path__ = ["rolemarl_jax"]
sys.modules["rolemarl_jax"] = package
for name in {modules!r}:
    importlib.import_module(name)
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO).returncode == 0


def test_no_cycles():
    graph = {}
    for path in our_files():
        module = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        graph[module] = imports_of(path)
    edges = {
        module: {
            target
            for target in graph
            if target != module
            and any(name == target or name.startswith(target + ".") for name in names)
            and not module.startswith(target + ".")
        }
        for module, names in graph.items()
    }
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


def test_the_checks_find_faults():
    relative = imports("from ..nets import agents\nimport hydra", "rolemarl_jax.ops.td")
    assert relative == {"rolemarl_jax.nets.agents", "hydra"}
    found = faults_of(Path("rolemarl_jax/ops/td.py"), sorted(relative))
    assert len(found) == 2
    assert faults_of(Path("envs/smax.py"), {"rolemarl_jax.ops.td"})
    assert faults_of(Path("envs/smax.py"), {"rolemarl_jax.types.Env"}) == []
    assert faults_of(Path("rolemarl_jax/rng.py"), {"envs.smax"})
    assert faults_of(Path("rolemarl_jax/roles/eoi.py"), {"rolemarl_jax.run.runner"})
    protocol = Path("rolemarl_jax/bridge/worker/protocol.py")
    for name in ("rolemarl_jax.config", "jax.numpy", "pysc2.lib"):
        assert foreign_to_workers(protocol, {name}) == [name]


@pytest.mark.parametrize(
    "module", ["rolemarl_jax", "rolemarl_jax.config", "rolemarl_jax.reads"]
)
def test_light_modules_do_not_import_jax(module):
    code = f"import sys, {module}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO).returncode == 0
