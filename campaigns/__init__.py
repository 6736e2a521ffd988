"""Fault campaigns: too long for the tests, each a command with its last result in `results/`."""
