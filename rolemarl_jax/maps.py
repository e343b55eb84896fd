"""Names of maps, as papers' tables and worlds have them."""

from collections.abc import Iterable


def entry_for(name: str, keys: Iterable[str]) -> str | None:
    """The key that a map's name is, or ends with behind an underscore.

    So ``zerg_5_vs_5`` stands for SMAX's ``smacv2_zerg_5_vs_5`` and for SMACv2's
    ``10gen_zerg_5_vs_5``.
    """
    fits = (key for key in keys if f"_{name}".endswith(f"_{key}"))
    return next(fits, None)
