"""What cannot work about the batches of an on-policy algorithm."""

from spinward.errors import SettingsError


def check_minibatches(
    envs: int, rollout: int, epochs: int, minibatches: int, recurrent: str = ""
) -> None:
    """Raises SettingsError where a batch cannot be cut into whole minibatches of equal size.

    A `recurrent` policy reads each environment's steps in their order, so envs are what is cut.
    """
    given = {"envs": envs, "rollout": rollout, "epochs": epochs, "minibatches": minibatches}
    for name, value in given.items():
        if value < 1:
            raise SettingsError(f"{name}={value} must be at least 1")
    if recurrent and envs % minibatches:
        raise SettingsError(
            f"minibatches={minibatches} does not divide envs = {envs}, whose "
            f"sequences recurrent={recurrent!r} keeps whole"
        )
    if rollout * envs % minibatches:
        raise SettingsError(
            f"minibatches={minibatches} does not divide rollout * envs = {rollout * envs}"
        )
