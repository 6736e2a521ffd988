"""Settings of AWAC, and those of CRR."""

from spinward.presets.preset import Preset

CRR = {"samples": 4, "temperature": 1.0, "weight_most": 20.0}

PRESETS = (
    Preset("crr", CRR, asked=True),
    Preset("crr-binary", CRR | {"weights": "binary"}, asked=True),
)
