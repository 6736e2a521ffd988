"""GRPO of a small language model beside TRL: writing, judging and learning."""

from benchmarks.workload import Side, Workload

SETTINGS = {
    "envs": 64,
    "group": 8,
    "steps": 32,
    "prompt": 8,
    "vocab": 256,
    "width": 64,
    "layers": 2,
    "heads": 4,
    "hidden": 176,
    "lr": 1e-4,
    "clip": 0.2,
}
WORKLOAD = Workload(
    name="grpo_tokens",
    question="GRPO, a step is a token: 2 layers, 64 wide, 64 completions of 32 tokens",
    algorithm="grpo",
    settings=SETTINGS,
    env_steps=40_960,
    quick_env_steps=20_480,
    sides=(
        Side("spinward", "benchmarks.grpo_ours", "tokens", beside="trl"),
        Side("trl", "benchmarks.peers.with_trl", "tokens"),
    ),
    notes=(
        "A step is a token written. All completions have 32, for none may end sooner.",
        "No reference model in either, one pass over each batch, float32, Adam (AdamW in TRL).",
        "The score is counted in the program here, and by a Python function there.",
    ),
)
