"""Makes a shared key for workers on other hosts.

python -m rolemarl_jax.bridge.keys FILE
"""

import sys
from pathlib import Path

import zmq

from rolemarl_jax.disk import files


def main() -> None:
    """Writes a new CURVE key pair, readable by its owner only; never overwrites."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m rolemarl_jax.bridge.keys FILE")
    public, secret = zmq.curve_keypair()
    text = f"{public.decode()}\n{secret.decode()}\n"
    try:
        written = files.create_text(Path(sys.argv[1]), text, mode=0o600)
    except OSError as error:
        sys.exit(f"error: {error}")
    if not written:
        sys.exit(f"error: '{sys.argv[1]}' is there already; allowed: a new file")
    print(f"{sys.argv[1]}: copy it to the hosts of the workers, and keep it secret")


if __name__ == "__main__":
    main()
