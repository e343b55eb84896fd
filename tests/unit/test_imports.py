"""Imports point one way, and third-party packages stay behind their fences."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
OURS = ("rolemarl_jax", "envs", "experiments")

# A module may import what stands in its own line or in one above it. A new module
# of rolemarl_jax is entered here when it is written.
LAYERS = (
    ("types", "config", "rng", "members"),
    ("stats", "loggers", "plotting", "checkpoint", "progress", "ranking", "summary"),
    ("ops",),
    ("nets",),
    ("roles",),
    ("learners",),
    ("replay", "rollout", "memory", "evaluate", "bridge", "viz"),
    ("seeds", "freeze", "program"),
    ("plan", "compiled"),
    ("plan", "runner", "sweep", "hosts"),
    ("bridge_runner", "bridge_exhibit"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# Package -> prefixes of the only files that may import it.
FENCES = {
    "hydra": ("experiments/",),
    "omegaconf": ("experiments/",),
    "wandb": ("rolemarl_jax/loggers.py",),
    "tensorboardX": ("rolemarl_jax/loggers.py",),
    "orbax": ("rolemarl_jax/checkpoint.py",),
    "distrax": ("rolemarl_jax/nets/dists.py",),
    "rich": ("rolemarl_jax/progress.py",),
    "jaxmarl": ("envs/", "experiments/bench"),
    "smac": ("rolemarl_jax/bridge/adapters/",),
    "smacv2": ("rolemarl_jax/bridge/adapters/",),
    "pysc2": ("rolemarl_jax/bridge/adapters/",),
    "gymnasium": ("rolemarl_jax/bridge/adapters/",),
    "gfootball": ("rolemarl_jax/bridge/adapters/",),
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
            if parts[1:2] not in (["types"], ["config"]):
                faults.append(f"{name} (only rolemarl_jax.types and .config)")
        elif top == "rolemarl_jax" == parts[0] and len(path.parts) > 1:
            own = path.with_suffix("").parts[1]
            target = parts[1] if len(parts) > 1 else "__init__"
            if RANK.get(target, -1) > RANK.get(own, -1):
                faults.append(f"{name} (a higher layer)")
    return faults


@pytest.mark.parametrize("path", our_files(), ids=str)
def test_imports_point_down(path):
    assert faults_of(path, imports_of(path)) == []


def test_every_module_has_a_layer():
    tops = {path.with_suffix("").parts[1] for path in our_files() if len(path.parts) > 1
            and path.parts[0] == "rolemarl_jax"}  # fmt: skip
    assert tops - set(RANK) <= {"__init__"}


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


@pytest.mark.parametrize("module", ["rolemarl_jax", "rolemarl_jax.config"])
def test_light_modules_do_not_import_jax(module):
    code = f"import sys, {module}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO).returncode == 0
