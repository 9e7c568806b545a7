"""Proxies of the environment: which of a cluster's URLs would go there, by curl's rules."""

from dataclasses import replace

import pytest

from devlink.core.profile_document import decode_profile
from devlink.doctor.laptop.proxies import caught, finding, proxies_of
from tests.core.profiles import SAMPLE

PROFILE = decode_profile(SAMPLE)
ALL = (".cluster.local", "10.20.0.0/16", "10.254.0.0/16", "fd00:20::/48", "fd00:254::/112")
PREFIXES = ALL[1:]


@pytest.mark.parametrize(
    ("exceptions", "left"),
    [
        ("", ALL),
        ("*", ()),
        (",".join(ALL), ()),
        ("cluster.local " + " ".join(PREFIXES), ()),
        (".local," + ",".join(PREFIXES), ()),
        ("CLUSTER.LOCAL", PREFIXES),
        ("10.0.0.0/8,fd00::/8", ALL[:1]),
        ("10.20.0.0/17,10.20.128.0/17,10.254.0.0/16,fd00::/8", ALL[:1]),
        ("*.cluster.local," + ",".join(PREFIXES), ALL[:1]),  # curl takes no wildcard but a lonely one
        ("*,localhost", ALL),
        ("svc.cluster.local," + ",".join(PREFIXES), ALL[:1]),
        ("mycluster.local,10.,10.20.*", ALL),
        ("10.20.0.0/24", ALL),
    ],
)
def test_an_exception_keeps_from_the_proxy_what_it_holds_and_no_more(exceptions: str, left: tuple[str, ...]) -> None:
    assert caught(PROFILE, {"http_proxy": "http://p:3128", "no_proxy": exceptions}) == left


def test_both_spellings_of_the_exceptions_must_hold_it_since_programs_differ_in_which_they_read() -> None:
    assert caught(PROFILE, {"NO_PROXY": "*", "no_proxy": ".local"}) == PREFIXES
    assert caught(PROFILE, {"NO_PROXY": "*", "no_proxy": ""}) == ()


def test_names_of_two_labels_go_to_the_proxy_too_unless_their_namespace_is_excepted() -> None:
    dns = PROFILE.spec.dns
    assert dns is not None
    profile = replace(PROFILE, spec=replace(PROFILE.spec, dns=replace(dns, search=("qa",))))
    assert caught(profile, {"no_proxy": ",".join(ALL)}) == (".qa",)


def test_the_line_to_type_keeps_what_was_excepted_and_leaves_nothing_to_the_proxy() -> None:
    environ = {"https_proxy": "http://joe:secret@p:3128", "NO_PROXY": "localhost, .corp.example"}
    said = finding(caught(PROFILE, environ), environ)
    assert "secret" not in str(said)
    assert "https_proxy=http://p:3128" in said.evidence
    wanted = said.fix.split('"')[1]
    assert wanted.startswith("localhost,.corp.example,.cluster.local,")
    assert caught(PROFILE, {"NO_PROXY": wanted, "no_proxy": wanted}) == ()


def test_an_empty_variable_is_no_proxy() -> None:
    assert proxies_of({"http_proxy": " ", "HTTPS_PROXY": "", "PROXY": "x"}) == ()
    assert proxies_of({"ALL_PROXY": "socks5://p"}) == (("ALL_PROXY", "socks5://p"),)
