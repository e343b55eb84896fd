"""Cards that programs are compiled for, attached or not."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from rolemarl_jax.config import ConfigError, nearest

PLUGIN = "jax_plugins.xla_cuda12"
# Data sheets' rates of dense matrix products, 1/s: float32 (as TF32) and bfloat16.
PRODUCTS = {
    "a100": {"f32": 156e12, "bf16": 312e12},
    "h100": {"f32": 495e12, "bf16": 990e12},
    "h200": {"f32": 495e12, "bf16": 990e12},
}


class Card(NamedTuple):
    """A card's figures, from its data sheet.

    Attributes:
        name: by which it is asked for.
        text: XLA's description of it.
        bandwidth: of its memory, bytes a second.
        memory: bytes.
        products: matrix products' operations a second, by kind of number.
    """

    name: str
    text: str
    bandwidth: float
    memory: int
    products: dict[str, float]


def prepare(name: str | None, key: str) -> None:
    """Lets jax find a compiler for a card that is not there; before jax is used.

    Args:
        key: that named the card.

    Raises:
        ConfigError: an unknown card, or a named one without the extra ``card``.
    """
    if name is None:
        return
    known(name, key)
    if _absent():
        raise ConfigError(
            f"{key}: got '{name}', which needs the extra 'card' (XLA's compiler for "
            "cards, nothing else): make setup EXTRAS=dev,card; allowed without it: "
            "null, the card of this machine"
        )
    # The libraries that only a present card needs are not looked for.
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"
    os.environ["JAX_PLATFORMS"] = "cpu"


def _absent() -> bool:
    """Whether the compiler is not installed."""
    try:
        return find_spec(PLUGIN) is None
    except ModuleNotFoundError:
        return True


def known(name: str, key: str = "card") -> Card:
    """A card by name.

    Args:
        key: that named it.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in PRODUCTS:
        raise ConfigError(
            f"{key}: got '{name}'; {nearest(str(name), PRODUCTS)}; null: the card of "
            "this machine"
        )
    text = Path(__file__).with_name(f"{name}.txtpb").read_text(encoding="utf8")

    def figure(key: str) -> int:
        found = re.search(rf"^\s*{key}: (\d+)$", text, re.M)
        assert found is not None, key
        return int(found[1])

    return Card(
        name,
        text,
        figure("memory_bandwidth"),
        figure("device_memory_size"),
        PRODUCTS[name],
    )


@contextmanager
def assumed(name: str | None) -> Iterator[None]:
    """Kernels of our own are compiled for a card by name, as no device tells which.

    Args:
        name: ``None``: the attached one tells.
    """
    if name is None:
        yield
        return
    import jax

    found = re.search(r"^\s*core_count: (\d+)$", known(name).text, re.M)
    assert found is not None
    device = jax.sharding.AbstractDevice(
        f"NVIDIA {name.upper()}", int(found[1]), platform="gpu"
    )
    mesh = jax.sharding.AbstractMesh((), (), abstract_device=device)
    with jax.sharding.use_abstract_mesh(mesh):
        yield


def target(name: str | None) -> tuple[Card, Any]:
    """A card, and the device to compile for.

    Args:
        name: of a card, or ``None`` for the attached one.

    Raises:
        ConfigError: none is attached, or one that has no description here.
    """
    import jax
    from jax.experimental import topologies

    if name is not None:
        card = known(name)
        described = topologies.get_topology_desc(
            "1x1x1", "cuda", target_config=card.text, topology="1x1x1"
        )
        return card, described.devices[0]
    device = jax.devices()[0]
    kind = device.device_kind.lower()
    found = [each for each in PRODUCTS if each in kind]
    if not found:
        raise ConfigError(
            f"card: got null, and this machine's device is '{device.device_kind}'; "
            f"allowed: {', '.join(PRODUCTS)}, or null on a machine with one of them"
        )
    return known(found[0]), device
