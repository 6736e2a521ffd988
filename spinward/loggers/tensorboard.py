"""TensorBoard event files in `tensorboard/` of the run, one folder for each seed:
`tensorboard --logdir RUN`."""

from pathlib import Path
from typing import Any

from spinward.errors import SettingsError, install
from spinward.store import files


def check() -> None:
    """Raises SettingsError where the library is missing."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError:
        raise SettingsError(
            f"the tensorboard logger needs tensorboardX: {install('tensorboardX')}"
        ) from None


class TensorBoard:
    """The event files of a run, from a first step on; later steps written before are replaced."""

    def __init__(self, run: Path, config: dict[str, Any], first_step: int):
        from tensorboardX import SummaryWriter

        seeds = range(config["seed"], config["seed"] + config["seeds"])
        places = [files.inside(run, run / "tensorboard" / f"seed-{seed}") for seed in seeds]
        self.writers = [SummaryWriter(str(place), purge_step=first_step) for place in places]

    def write(self, step: int, metrics: list[dict[str, float]]) -> None:
        """Writes the metrics [seed] of a log point."""
        for writer, values in zip(self.writers, metrics, strict=True):
            for name, value in values.items():
                writer.add_scalar(name, value, step)
            writer.flush()

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


opened = TensorBoard
