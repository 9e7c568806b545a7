"""resolv.conf's text: read as glibc does, and ours in its place."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.prefixes import IPAddress
from devlink.resolvers.resolvconf_text import MAX_LINES, ResolvConf, parse, render, render_before

OURS = ipaddress.ip_address("169.254.53.53")
LINES = st.sampled_from(
    [
        "nameserver 192.0.2.1", "nameserver\t2001:db8::1", "nameserver fe80::1%eth0", "nameserver 192.0.2.9 # lan",
        "search corp.example lab.example", "domain one.example two.example", "options rotate timeout:1",
        "options edns0 trust-ad", "sortlist 192.0.2.0/255.255.255.0", "# a comment", "; another", "", "nonsense here",
        " nameserver 192.0.2.3", "nameserver 192.0.2.4\r", "search corp.example\r", "nameserver", "options",
        "# devlink: nameserver=169.254.53.53 before=file", "# devlink: nameserver=nothing before=file",
    ]
) | st.text(max_size=30)  # fmt: skip
TEXTS = st.lists(LINES, max_size=12).map("\n".join)


def addresses(*texts: str) -> tuple[IPAddress, ...]:
    return tuple(ipaddress.ip_address(text) for text in texts)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("nameserver 192.0.2.1", addresses("192.0.2.1")),
        ("nameserver\t 192.0.2.1 \t", addresses("192.0.2.1")),
        ("nameserver 192.0.2.1\r", addresses("192.0.2.1")),
        ("nameserver 192.0.2.1 # the router", addresses("192.0.2.1")),
        ("nameserver 192.0.2.1;", addresses("192.0.2.1")),
        ("nameserver fe80::1%wlan0", addresses("fe80::1%wlan0")),
        ("nameserver ::ffff:192.0.2.1", addresses("192.0.2.1")),
        ("nameserver dns.example", ()),
        ("nameserver", ()),
        (" nameserver 192.0.2.1", ()),
        ("#nameserver 192.0.2.1", ()),
        ("nameservers 192.0.2.1", ()),
    ],
)
def test_a_nameserver_line_is_read_as_libc_reads_it(line: str, expected: tuple[IPAddress, ...]) -> None:
    assert parse(line).nameservers == expected


def test_of_search_and_domain_the_last_wins_and_every_line_is_kept() -> None:
    text = "search a.example b.example\noptions rotate\ndomain c.example d.example\nnameserver 192.0.2.1\n"
    found = parse(text)
    assert found.search == ("c.example",)
    assert found.kept == ("search a.example b.example", "options rotate", "domain c.example d.example")


def test_what_comes_after_a_thousand_lines_is_not_looked_at() -> None:
    found = parse("# nothing\n" * MAX_LINES + "nameserver 192.0.2.1\n")
    assert found == ResolvConf()
    assert parse("# nothing\n" * (MAX_LINES - 1) + "nameserver 192.0.2.1\n").nameservers == addresses("192.0.2.1")


@given(st.text(max_size=300) | TEXTS)
def test_any_text_is_parsed_without_an_exception(text: str) -> None:
    parse(text)


@given(TEXTS, st.booleans(), st.sampled_from(addresses("169.254.53.53", "fd00::53", "127.0.0.54")))
def test_our_text_names_us_alone_keeps_the_rest_and_is_known_as_ours(
    text: str, had_file: bool, address: IPAddress
) -> None:
    before = parse(text)
    ours = parse(render(address, before, had_file=had_file))
    assert ours.is_ours
    assert ours.header is not None
    assert (ours.header.address, ours.header.had_file) == (address, had_file)
    assert ours.nameservers == (address,)
    assert (ours.kept, ours.search) == (before.kept, before.search)
    if not before.is_ours:
        assert ours.header.servers == before.nameservers
        again = parse(render_before(ours))
        assert (again.nameservers, again.kept, again.header) == (before.nameservers, before.kept, None)


@given(TEXTS, st.booleans())
def test_rendering_ours_again_changes_nothing(text: str, had_file: bool) -> None:
    once = render(OURS, parse(text), had_file=had_file)
    assert render(OURS, parse(once), had_file=had_file) == once


def test_the_header_says_who_wrote_it_and_how_to_undo_it() -> None:
    text = render(OURS, parse("nameserver 192.0.2.1\n"), had_file=True)
    for words in ("Written by devlink", "`devlink down`", "`devlink helper restore`"):
        assert words in text.split("nameserver 169")[0]
    # Other programs look for these words in the leading comments to find a file's owner.
    assert not any(word in text for word in ("systemd-resolved", "NetworkManager", "resolvconf"))


def test_a_file_that_lost_our_nameserver_is_not_ours() -> None:
    text = render(OURS, ResolvConf(), had_file=True)
    assert not parse(text.replace("nameserver 169.254.53.53\n", "nameserver 192.0.2.1\n")).is_ours
    assert not parse("nameserver 169.254.53.53\n").is_ours
    assert parse(text + "nameserver 192.0.2.1\n").is_ours
