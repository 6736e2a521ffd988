"""Whether a policy may be deployed, from what logged steps tell of it: a rule for a program."""

import dataclasses
from typing import Any

from spinward.errors import SettingsError
from spinward.evaluation.off_policy import FEW_TRUNCATED

FINE = 1.0  # least share of the value of the data's policy


@dataclasses.dataclass(frozen=True)
class Gate:
    """The bounds that the intervals of a policy's value must lie above, as a share of the value of
    the data's policy: 1 asks for a better one, 0.98 lets a guarded metric fall by 2 %."""

    least: float = FINE

    def check(self) -> None:
        if not 0.0 < self.least < 10.0:
            raise SettingsError(f"gate={self.least} must be above 0 and below 10")

    def reasons(self, result: dict[str, Any]) -> list[str]:
        """Why the policy of a result of `off_policy.evaluate` is not to be deployed; empty where it
        may be. The lower bounds of the weighted doubly robust gain and of the direct method must
        both be high enough. Of truncated episodes the direct method values what would have
        followed: where these are more than a few, it does not count."""
        if result["verdict"].startswith("cannot tell"):
            return [result["verdict"]]
        logged = result["data"]["value"]
        asked = (self.least - 1.0) * abs(logged)
        lows = {"weighted doubly robust": result["gain"]["low"]}
        if result["truncated_share"] <= FEW_TRUNCATED:
            lows["direct method"] = result["estimates"]["direct method"]["low"] - logged
        return [
            f"the {name} may gain only {low:+.3g} on the data's policy; {asked:+.3g} is asked"
            for name, low in lows.items()
            if not low > asked
        ]

    def decided(self, result: dict[str, Any]) -> dict[str, Any]:
        """The decision, as JSON."""
        reasons = self.reasons(result)
        return {"least": self.least, "deploy": not reasons, "reasons": reasons}

    def line(self, decision: dict[str, Any]) -> str:
        """The decision for people."""
        if decision["deploy"]:
            return f"deploy: every bound is above {self.least:g} times the data's policy"
        return f"do not deploy: {'; '.join(decision['reasons'])}"
