"""What is said where neither routes nor a relay can be had."""

from devlink.agent.fallback import nor_by_relay
from devlink.errors import ClusterError, VerificationError


def test_what_to_do_is_said_for_both_ways_in_whole_sentences() -> None:
    failed = VerificationError("It is silent.", why="No answer.", next_step="join the network")
    told = nor_by_relay(failed, ClusterError("You may not.", next_step="Ask."))
    assert told.why == "No answer. Nor can it be relayed through the cluster's API server: You may not."
    assert told.next_step == "join the network. To have it relayed: Ask."
    assert nor_by_relay(VerificationError("It is silent."), ClusterError("No.", next_step="Ask.")).next_step == (
        "To have it relayed: Ask."
    )
