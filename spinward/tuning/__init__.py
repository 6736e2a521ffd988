"""A search for settings of an algorithm: its space, its trials, its folder and its answer."""
