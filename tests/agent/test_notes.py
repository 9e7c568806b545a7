"""What is said of where a profile comes from."""

from devlink.agent.notes import broken, held, renamed, unasked, unproven
from devlink.errors import ClusterError, NotTrustedError, ProfileError, VerificationError


def test_each_thing_that_is_said_has_a_code_of_its_own_and_a_way_on() -> None:
    away = ClusterError("It is away.", next_step="Look at the VPN.")
    refused, fails = NotTrustedError("It claims more."), VerificationError("It fails.", next_step="Tell its publisher.")
    found = (
        unasked(away), renamed("qa", "prod"), broken(ProfileError("Broken.")), held("qa", refused), held("qa", fails),
        unproven("office", "nothing is kept"),
    )  # fmt: skip
    assert len({finding.code for finding in found}) == len(found)
    assert all(finding.fix for finding in found)


def test_what_is_not_trusted_names_the_argument_that_trusts_it() -> None:
    fix = held("qa", NotTrustedError("It claims more."), "--context office").fix
    assert "devlink trust --context office; devlink up qa" in fix


def test_an_unchecked_server_is_named_with_what_comes_of_it() -> None:
    evidence = unproven("office", "the cluster's CA was left out").evidence
    assert "server of office" in evidence
    assert evidence.endswith("the cluster's CA was left out")
