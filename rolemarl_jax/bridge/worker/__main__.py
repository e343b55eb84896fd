"""``python -m rolemarl_jax.bridge.worker``; see ``worker``."""

from rolemarl_jax.bridge.worker.worker import main

if __name__ == "__main__":
    main()
