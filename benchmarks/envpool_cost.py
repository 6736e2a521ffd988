"""What stepping EnvPool's environments costs by itself, with actions drawn at random."""

import time

import envpool
import numpy as np

SAMPLE_STEPS = 256  # of all envs together; enough to be stable to a few per cent


def envpool_cpu_s(env: str, envs: int, env_steps: int) -> float:
    """CPU-seconds that so many steps would cost, told from a sample."""
    pool = envpool.make(env, env_type="gymnasium", num_envs=envs, num_threads=1, seed=0)
    draw = np.random.default_rng(0)
    space = pool.action_space
    pool.reset()
    before_s = time.process_time()
    for _ in range(SAMPLE_STEPS):
        if hasattr(space, "n"):
            action = draw.integers(space.n, size=envs)
        else:
            action = draw.uniform(-1, 1, (envs, *space.shape)).astype(space.dtype)
        pool.step(action)
    cost_s = time.process_time() - before_s
    pool.close()
    return cost_s / (SAMPLE_STEPS * envs) * env_steps
