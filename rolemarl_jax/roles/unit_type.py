"""A control: an agent's role is its own type of unit, as it observes it.

The one-hot of the type stands in the observation already, so nothing is added that
agents do not know; a dead agent sees nothing, and its role is zero.
"""

from rolemarl_jax.config import ConfigError, config
from rolemarl_jax.roles.parts.given import GivenConfig, make_given
from rolemarl_jax.roles.parts.method import Carry, Feats, Hidden, RoleMethod
from rolemarl_jax.roles.parts.phase import Params
from rolemarl_jax.types import EnvSpec, Inputs, Key


@config
class Config(GivenConfig):
    """Roles that are types (key ``algo.role``); nothing besides what it inherits.

    Attributes:
        name: of the method, ``unit_type``.
    """

    name: str


def make(cfg: Config, spec: EnvSpec) -> RoleMethod:
    """The method record.

    Raises:
        ConfigError: agents do not observe a type of their own in this world.
    """
    first, kinds = spec.own_type, len(spec.kinds)
    if first is None:
        raise ConfigError(
            f"algo.role.name: got 'unit_type', but agents of {spec.name} do not "
            "observe a type of their own; allowed: worlds in which they do: env=smax"
        )

    def encode(
        params: Params, x: Inputs, carry: Carry, key: Key | None
    ) -> tuple[Feats, Hidden]:
        del params, carry, key
        return {"role": x.obs[..., first : first + kinds]}, {}

    return make_given(cfg, spec, kinds, encode)
