"""Speed of Spinward beside its peers: same settings, one side after another, in CPU-seconds."""
