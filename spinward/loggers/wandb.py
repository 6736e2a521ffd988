"""Weights & Biases: one of its runs for each run, in the project `spinward` or that of
WANDB_PROJECT. WANDB_MODE=offline keeps it in `wandb/` of the run."""

import os
import secrets
from pathlib import Path
from typing import Any

from spinward.errors import SettingsError, install
from spinward.store import files
from spinward.store.points import flat

INIT_S = 20.0  # for an answer of its server
ID = "wandb_id"  # file of the run with the name that W&B knows it by


def check() -> None:
    """Raises SettingsError where the library or its key is missing; it would ask for the key while
    the run trains."""
    try:
        import wandb
    except ImportError:
        raise SettingsError(f"the wandb logger needs W&B: {install('wandb')}") from None
    if os.environ.get("WANDB_MODE", "online") == "online" and not wandb.login(
        prompt=False, verify=False
    ):
        raise SettingsError(
            "the wandb logger has no key: run `wandb login`, or set WANDB_MODE=offline"
        )


class WeightsAndBiases:
    def __init__(self, run: Path, config: dict[str, Any], first_step: int):
        import wandb

        files.inside(run, run / "wandb")
        path = files.inside(run, run / ID)
        if not path.exists():
            files.write_atomically(path, secrets.token_hex(4).encode())
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "spinward"),
            name=run.resolve().name,
            id=files.read(path, run, 100).decode(),
            resume="allow",
            reinit="create_new",
            dir=str(run),
            config=config,
            settings=wandb.Settings(console="off", silent=True, init_timeout=INIT_S),
        )

    def write(self, step: int, metrics: list[dict[str, float]]) -> None:
        """Writes the metrics [seed] of a log point."""
        self.run.log(flat(metrics), step=step)

    def close(self) -> None:
        self.run.finish()


opened = WeightsAndBiases
