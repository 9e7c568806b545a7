"""The verbs that change nothing of a session: what the dashboard follows and lists, and what is looked at closer."""

from collections.abc import Mapping

from devlink.agent.supervisor import Supervisor
from devlink.rpc.server import Handler


class Looks:
    """Each verb as the interface file has it."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """By method."""
        return {}
