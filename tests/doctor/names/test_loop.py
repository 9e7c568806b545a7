"""A resolver of this machine that asks the forwarder back is found where the forwarder asks it, and only there."""

import asyncio
from ipaddress import ip_address

import pytest

from devlink.core.codec import encode
from devlink.core.names import DomainName
from devlink.core.plan import ProofRecord, Upstream
from devlink.doctor.names import loop
from devlink.doctor.names.loop import check_loops
from devlink.errors import VerificationError
from tests.dns.forwarder_process import FakeServer
from tests.dns.messages import parse

PROBE = ProofRecord(name=DomainName.parse("devlink-1.example.com"), address=ip_address("192.0.2.231"))
KNOWS_IT = str(PROBE.address)
"""What a server answers that asks the forwarder back."""


def check(*upstreams: Upstream, probe: ProofRecord | None = PROBE) -> None:
    applied = {"upstreams": [encode(each) for each in upstreams], "loop_probe": encode(probe) if probe else None}
    asyncio.run(check_loops(applied))


def test_a_local_cache_beside_port_53_that_asks_us_back_is_a_loop() -> None:
    with (
        FakeServer("192.0.2.7") as other,
        FakeServer(KNOWS_IT) as cache,
        pytest.raises(VerificationError, match=f"The resolver at 127.0.0.1#{cache.port} asks .* a loop") as error,
    ):
        check(other.upstream(), cache.upstream())
    assert "devlink up --no-dns" in error.value.next_step
    (asked,) = cache.asked
    assert str(parse(asked[1]).q.qname) == f"{PROBE.name}."


@pytest.mark.parametrize("probe", [PROBE, None])
def test_a_cache_with_servers_of_its_own_is_none(probe: ProofRecord | None) -> None:
    with FakeServer("192.0.2.7") as cache:
        check(cache.upstream(), probe=probe)
    assert len(cache.asked) == (1 if probe else 0)


def test_who_is_silent_is_another_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LIMIT", 0.1)
    with FakeServer(udp=False) as cache:
        check(cache.upstream())
    assert cache.asked


def test_neither_a_server_elsewhere_nor_one_over_tls_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(loop, "ask", lambda *arguments, **_: asked.append(arguments))
    check(Upstream(address=ip_address("9.9.9.9")), Upstream(address=ip_address("127.0.0.9"), tls_name="dns.example"))
    assert asked == []
