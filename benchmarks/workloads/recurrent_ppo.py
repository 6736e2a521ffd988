"""PPO with an LSTM on CartPole beside sb3-contrib's RecurrentPPO."""

from benchmarks.workload import OURS, Side, Workload

SB3_CONTRIB = "benchmarks.peers.with_sb3_contrib"
SETTINGS = {
    "envs": 8,
    "steps": 128,
    "epochs": 4,
    "minibatches": 4,
    "lr": 1e-3,
    "gamma": 0.98,
    "lam": 0.95,
    "clip": 0.2,
    "entropy_coef": 0.0,
    "value_coef": 0.5,
    "max_grad_norm": 0.5,
    "hidden": [64],
    "activation": "tanh",
    "recurrent": "lstm",
}
WORKLOAD = Workload(
    name="recurrent_ppo",
    question="PPO with an LSTM, CartPole-v1, 1 seed",
    algorithm="ppo",
    settings=SETTINGS,
    env_steps=40_960,
    quick_env_steps=10_240,
    sides=(
        Side("spinward (Gymnasium)", OURS, "gymnasium:CartPole-v1", beside="sb3-contrib"),
        Side("spinward (JAX)", OURS, "CartPole-v1"),
        Side("sb3-contrib", SB3_CONTRIB, "CartPole-v1"),
    ),
    notes=(
        "An LSTM of 64 for the policy and one for the value in both, and linear heads.",
        "A minibatch is whole rollouts of two environments here, sequences of 256 steps there.",
    ),
)
