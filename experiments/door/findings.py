"""What checks have found, as a person reads it."""

import sys
import textwrap
from collections.abc import Sequence

from rolemarl_jax.checks.findings import Finding


def tell(what: str, found: Sequence[Finding]) -> None:
    """Prints what was checked and all that was found.

    Raises:
        SystemExit: status 1, if there is a fault.
    """
    print(what)
    for one in found:
        print(textwrap.indent(f"{one.level}: {one.text}", "  "))
    faults = sum(one.level == "fault" for one in found)
    if faults:
        print(f"{faults} {'fault' if faults == 1 else 'faults'} to mend.")
        sys.exit(1)
    print("Nothing to mend.")
