"""Checks that Ray is installed, and joins or starts a cluster."""

import importlib.util
import os
import warnings
from typing import Any

from spinward.errors import SettingsError

INSTALL = "Ray is not installed; install it with: pip install -e '.[ray]'"
LOCKED = "If it runs and wants a token, copy its ~/.ray/auth_token here and set RAY_AUTH_MODE=token"
STORE_BYTES = 2**30  # of shared memory for batches between processes, where we start Ray


def require_ray() -> Any:
    """The module `ray`.

    Raises:
        SettingsError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise SettingsError(INSTALL)
    import ray

    return ray


def start(ray: Any, workers: int) -> None:
    """Joins the cluster at RAY_ADDRESS, or starts Ray for so many workers on this machine.

    Raises:
        SettingsError: there is no cluster at that address, or the cluster refused the connection.
    """
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        room = max(workers, os.cpu_count() or 1)
        settings |= {"num_cpus": room, "include_dashboard": False}
        settings |= {"object_store_memory": STORE_BYTES}
    with warnings.catch_warnings():  # Ray forks beside JAX's threads, and calls exec at once
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            ray.init(**settings)
        except ConnectionError as error:
            raise SettingsError(f"RAY_ADDRESS={address}: {error}. {LOCKED}") from None
