"""That a connection goes nowhere, and why: what every step of its way may say. PURE."""


class RefusedError(Exception):
    """A connection goes nowhere."""

    def __init__(self, reason: str, why: str) -> None:
        """`reason`: one of devlink.core.relay.REASONS; `why`: a sentence for a person."""
        super().__init__(f"{reason}: {why}")
        self.reason = reason
        self.why = why
