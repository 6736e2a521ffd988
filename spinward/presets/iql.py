"""Settings of IQL, from its paper."""

from spinward.presets.preset import STEPS, Preset

PENDULUM = ("Pendulum-v1",)
MUJOCO = ("HalfCheetah*", "Hopper*", "Walker2d*", "Ant-*")

PRESETS = (
    Preset("pendulum", {"beta": 0.3, "hidden": (128, 128)}, tasks=PENDULUM),
    Preset("mujoco", {"return_range": 1000.0, "anneal_updates": STEPS}, tasks=MUJOCO),
    Preset("antmaze", {"expectile": 0.9, "beta": 10.0, "anneal_updates": STEPS}, asked=True),
    Preset("adroit", {"beta": 0.5, "anneal_updates": STEPS}, asked=True),
)
