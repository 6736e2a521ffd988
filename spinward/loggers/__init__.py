"""Where else a run's log points go: one file for each logger. `run/mirror.py` writes to them."""
