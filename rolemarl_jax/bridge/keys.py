"""Makes a shared key for workers on other hosts.

python -m rolemarl_jax.bridge.keys FILE
"""

import os
import sys

import zmq


def main() -> None:
    """Writes a new CURVE key pair, readable by its owner only; never overwrites."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m rolemarl_jax.bridge.keys FILE")
    public, secret = zmq.curve_keypair()
    try:
        handle = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        sys.exit(f"error: {error}")
    with os.fdopen(handle, "wb") as file:
        file.write(public + b"\n" + secret + b"\n")
    print(f"{sys.argv[1]}: copy it to the hosts of the workers, and keep it secret")


if __name__ == "__main__":
    main()
