"""What doctor says of the servers for ordinary names."""

from ipaddress import ip_address

import pytest

from devlink.core.plan import Upstream
from devlink.doctor.names.upstreams import judge

ONE, OTHER = (Upstream(address=ip_address(text)) for text in ("192.0.2.53", "192.0.2.54"))


@pytest.mark.parametrize(
    ("silent", "failure", "code"),
    [
        ((), "", None),
        ((OTHER,), "", "DL-UPSTREAM-SILENT"),
        ((ONE, OTHER), "", "DL-UPSTREAM-SILENT"),  # the forwarder has others to go by: TLS, or what it keeps
        ((ONE, OTHER), "no answer", "DL-DNS-ORDINARY"),
        ((), "SERVFAIL", "DL-DNS-ORDINARY"),
    ],
)
def test_the_silence_of_all_is_told_once_and_before_that_of_one(
    silent: tuple[Upstream, ...], failure: str, code: str | None
) -> None:
    found = judge((ONE, OTHER), silent, failure).findings
    assert [finding.code for finding in found] == ([code] if code else [])
    if code == "DL-UPSTREAM-SILENT":
        assert ("192.0.2.53#53" in found[0].evidence) == (ONE in silent)
