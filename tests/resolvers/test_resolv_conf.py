"""resolv.conf's text: read as glibc does, and ours in its place."""

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.prefixes import IPAddress
from devlink.resolvers.resolv_conf import (
    MAX_LINES,
    MAX_NAMESERVERS,
    ResolvConf,
    digest_of,
    merge_records,
    parse,
    parse_records,
    render,
    render_before,
    render_record,
)

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


def nameservers_to(space: str, text: str) -> list[str]:
    """What a parser finds that takes lines apart at these characters, and heeds the first two words of each."""
    lines = [re.sub(f"^{space}+|{space}+$", "", line) for line in text.split("\n")]
    words = [re.split(f"{space}+", line) for line in lines]
    return [line[1] for line in words if line[0] == "nameserver" and len(line) > 1]


ISSPACE, UNICODE = r"[\t\v\f\r ]", r"[\t\v\f\r \x85\xa0]"


def nameservers_to_regexp(text: str) -> list[str]:
    """What Docker up to 24 finds: Go's `\\s` has no vertical tab, and it need not stand before the address."""
    matches = [
        re.fullmatch(r"[\t\f\r ]*nameserver[\t\f\r ]*([0-9a-f.:]+)[\t\f\r ]*", line) for line in text.split("\n")
    ]
    return [match[1] for match in matches if match is not None]


@pytest.mark.parametrize("server", ["192.0.2.1", "2001:db8::1"])
def test_docker_finds_a_server_from_before_among_the_first_three_and_the_hosts_programs_do_not(server: str) -> None:
    """moby: strings.Fields since release 25, before that a regular expression; BIND takes lines apart by isspace()."""
    (address,) = addresses("127.0.0.231")
    ours = str(address)
    text = render(address, parse(f"nameserver {server}\nnameserver 192.0.2.2\n"), had_file=True)
    assert nameservers_to(UNICODE, text)[:3] == [ours, server, ours]
    assert nameservers_to_regexp(text) == [ours, server, "192.0.2.2"]
    for space in (ISSPACE, r"[\t\r ]", "[\t ]"):
        assert nameservers_to(space, text) == [ours] * 3 + [server, "192.0.2.2"]
    assert [str(each) for each in parse(text).nameservers] == [ours] * 3 + [server, "192.0.2.2"]
    keywords = {line.split()[0] for line in text.split("\n") if line and not line.startswith("#")}
    assert keywords == {"nameserver"}, "some parsers refuse the whole file for another one"
    rotating = render(address, parse(f"nameserver {server}\noptions rotate\n"), had_file=True)
    assert set(nameservers_to(UNICODE, rotating)) == {ours}, "who asks all in turn would ask it"


def test_our_text_with_form_feeds_as_older_ones_have_it_is_ours_and_written_anew_as_now() -> None:
    before = parse("search corp.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n")
    digest = digest_of(before)
    now = render(OURS, before, had_file=True, digest=digest)
    older = now.replace(" \v", "").replace("\u00a0", "\f")
    assert older.count("\f") == 2
    assert parse(older) == parse(now)
    assert parse(older).is_ours
    assert render(OURS, parse(older), had_file=True, digest=digest) == now


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
    assert ours.nameservers[:MAX_NAMESERVERS] == (address,) * MAX_NAMESERVERS
    assert (ours.kept, ours.search) == (before.kept, before.search)
    if not before.is_ours:
        assert ours.header.servers == before.nameservers
        others = () if before.rotates else before.nameservers
        assert ours.nameservers[MAX_NAMESERVERS:] == others, "for the copies of containers"
        again = parse(render_before(ours))
        assert (again.nameservers, again.kept, again.header) == (before.nameservers, before.kept, None)


def test_our_text_knows_the_file_from_before_by_a_digest_if_there_was_one() -> None:
    kept, none = (render(OURS, ResolvConf(), had_file=had_file, digest="0badcafe") for had_file in (True, False))
    assert [ours.header and ours.header.digest for ours in (parse(kept), parse(none))] == ["0badcafe", ""]
    plain, strange, commented, other = (
        digest_of(parse(text))
        for text in (
            "nameserver 192.0.2.1\nsearch a",
            "nameserver 192.0.2.1\nsearch a \udcff",
            "# mine\nnameserver 192.0.2.1\nsearch a",
            "nameserver 192.0.2.2\nsearch a",
        )
    )
    assert plain == commented
    assert len({plain, strange, other}) == 3


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
    assert "containers" in text, "and why there are more servers than libc asks"


@pytest.mark.parametrize(
    ("options", "rotates"), [("options rotate", True), ("options edns0 rotate", True), ("options timeout:1", False)]
)
def test_where_servers_are_asked_in_turn_no_other_than_ours_is_in_force(options: str, rotates: bool) -> None:
    before = parse(f"nameserver 192.0.2.1\n{options}\n")
    assert before.rotates == rotates
    ours = parse(render(OURS, before, had_file=True))
    assert (ours.nameservers[MAX_NAMESERVERS:] == ()) == rotates
    assert ours.header is not None
    assert ours.header.servers == addresses("192.0.2.1")
    assert ours.kept == (options,)


def test_a_file_that_lost_our_nameserver_is_not_ours() -> None:
    text = render(OURS, ResolvConf(), had_file=True)
    assert not parse(text.replace("\nnameserver 169.254.53.53", "\nnameserver 192.0.2.1")).is_ours
    assert not parse("nameserver 169.254.53.53\n").is_ours
    assert parse(text + "nameserver 192.0.2.1\n").is_ours


LISTING = """# resolv.conf from lo.devlink
nameserver 127.0.0.231
# resolv.conf from eth0.dhclient
domain corp.example
search corp.example. lab.example
nameserver 192.0.2.1
options rotate

# resolv.conf from wlan0
# Generated by a program
nameserver 192.0.2.2
nameserver 192.0.2.1
search home.example lab.example
options rotate
sortlist 192.0.2.0/255.255.255.0
"""


def test_the_records_of_a_listing_are_told_apart_and_merged_in_its_order() -> None:
    records = parse_records(LISTING)
    assert list(records) == ["lo.devlink", "eth0.dhclient", "wlan0"]
    merged = merge_records(record for name, record in records.items() if name != "lo.devlink")
    assert merged.nameservers == addresses("192.0.2.1", "192.0.2.2")
    assert merged.search == ("corp.example", "lab.example", "home.example")
    assert merged.kept == (
        "search corp.example lab.example home.example",
        "options rotate",
        "sortlist 192.0.2.0/255.255.255.0",
    )
    assert merge_records(records.values()).nameservers == addresses("127.0.0.231"), "a local one stands alone"
    assert parse_records("") == {}


def test_a_record_names_the_forwarder_and_keeps_what_is_not_about_servers() -> None:
    text = render_record([OURS], ("search corp.example", "options rotate"))
    assert text == "nameserver 169.254.53.53\nsearch corp.example\noptions rotate\n"
