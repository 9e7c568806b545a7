"""Whether programs that read resolv.conf themselves come to the forwarder where the OS splits."""

from ipaddress import ip_address

import pytest

from devlink.doctor.names.bypass import judge


@pytest.mark.parametrize(
    ("mode", "named", "is_bypassed"),
    [
        ("systemd-resolved", ("127.0.0.53",), False),
        ("systemd-resolved", ("127.0.0.53", "192.0.2.53"), False),
        ("systemd-resolved", ("192.0.2.53", "127.0.0.53"), True),
        ("systemd-resolved", ("127.0.0.1",), True),
        ("systemd-resolved", (), True),
        ("NetworkManager-dnsmasq", ("127.0.0.1",), False),
        ("NetworkManager-dnsmasq", ("192.0.2.53",), True),
    ],
)
def test_the_first_server_decides(mode: str, named: tuple[str, ...], is_bypassed: bool) -> None:
    found = judge(mode, tuple(map(ip_address, named))).findings
    assert [finding.code for finding in found] == ["DL-RESOLV-CONF-BYPASSED"] * is_bypassed
