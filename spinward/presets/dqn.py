"""Settings of DQN."""

from spinward.presets.kinds import NO_IMAGES
from spinward.presets.preset import Preset
from spinward.presets.q_learning import CLASSIC, DOPAMINE, PAPER_ATARI, SQUARED, by_kind

# A lost life is an error above 1, which a line would make light of.
SQUARE = {"huber": SQUARED}
DOPAMINE_STEP = {"lr": 6.25e-5, "eps": 1.5e-4}
NATURE = {  # Mnih et al., 2015, as Dopamine's dqn_nature.gin has it
    **PAPER_ATARI,
    "warmup": 50_000,
    "rmsprop": True,
    "lr": 2.5e-4,
    "eps": 1e-5,
    "epsilon": 0.1,
    "explore_steps": 1_000_000,
    "target_every": 2_500,
    "double": False,
    "huber": 1.0,
}

# Where steps are few, each is worth an update of its own, and values have to move quickly: large
# steps, which shrink to 0, and a target that follows sooner; docs/log.md.
FEW_STEPS = {
    **CLASSIC,
    "envs": 8,
    "updates": 8,
    "batch": 64,
    "lr": 4e-3,
    "tau": 0.01,
    "activation": "relu",
}

PRESETS = (
    Preset("few-steps", FEW_STEPS | SQUARE, obs=NO_IMAGES, steps=200_000),
    # Targets of 3 rewards for those of 1: 493 for 353 in CartPole; docs/log.md.
    *by_kind(SQUARE | {"capacity": 100_000}, SQUARE, SQUARE | DOPAMINE_STEP),
    Preset("nature", NATURE, asked=True),
    Preset("dopamine", DOPAMINE | DOPAMINE_STEP | {"double": False}, asked=True),
)
