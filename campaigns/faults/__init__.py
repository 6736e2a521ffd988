"""Damage to runs, on purpose: nothing may be silent, nothing may be executed, no traceback.

    python -m campaigns.faults flips|configs|links|signals|kills [--count N] [--seed 0]

Each case is drawn from the seed and its number alone. A campaign that was stopped goes on where it
was, as long as the commit is the same; `--again` repeats the cases that were wrong. Results are in
results/faults/KIND.json.
"""
