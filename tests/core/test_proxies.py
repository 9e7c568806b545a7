"""Which proxy curl would ask, and for which hosts it would ask none."""

import pytest

from devlink.core.proxies import Proxy, is_excepted, line_to_type, proxy_for

PROXY = "http://user:secret@proxy.example:3128"
WEB = "web.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("scheme", "environ", "variable"),
    [
        ("http", {"http_proxy": PROXY}, "http_proxy"),
        ("http", {"HTTP_PROXY": PROXY}, None),
        ("http", {"https_proxy": PROXY}, None),
        ("https", {"HTTPS_PROXY": PROXY}, "HTTPS_PROXY"),
        ("https", {"https_proxy": "", "ALL_PROXY": PROXY}, "ALL_PROXY"),
        ("http", {"all_proxy": "http://other", "http_proxy": PROXY}, "http_proxy"),
        ("http", {}, None),
    ],
)
def test_the_proxy_is_that_of_the_first_variable_that_curl_looks_at(
    scheme: str, environ: dict[str, str], variable: str | None
) -> None:
    shown = environ.get(variable or "", "").replace("user:secret@", "")
    expected = None if variable is None else Proxy(variable, shown)
    assert proxy_for(WEB, scheme, environ) == expected


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("user:secret@[fd00::1]:3128/", "[fd00::1]:3128"),
        ("http://user:sec/ret@p:3128/path", "http://p:3128"),
        ("socks5://user:s@cr@et@p", "socks5://p"),
        ("http://user:secret@[p", "http://[p"),
        ("p:3128", "p:3128"),
    ],
)
def test_what_signs_in_to_the_proxy_is_never_told(url: str, shown: str) -> None:
    assert proxy_for(WEB, "http", {"http_proxy": url}) == Proxy("http_proxy", shown)


@pytest.mark.parametrize(
    ("host", "excepted"),
    [
        (WEB, "*"),
        (WEB, "localhost, .cluster.local"),
        (WEB, "cluster.local"),
        (WEB, "CLUSTER.LOCAL."),
        (f"{WEB}.", WEB),
        ("10.254.0.10", "10.0.0.0/8"),
        ("10.254.0.10", "10.254.0.10"),
        ("fd00::1", "fd00::/16"),
        ("fd00::1", "[fd00::1]"),
    ],
)
def test_no_proxy_means_domains_addresses_and_prefixes(host: str, excepted: str) -> None:
    assert is_excepted(host, excepted)
    assert proxy_for(host, "https", {"https_proxy": PROXY, "no_proxy": excepted}) is None
    assert proxy_for(host, "https", {"https_proxy": PROXY, "NO_PROXY": excepted}) is None


@pytest.mark.parametrize(
    ("host", "excepted"),
    [(WEB, ""), (WEB, "local.example"), (WEB, "uster.local"), (WEB, "*.cluster.local"), ("10.254.0.10", "10.254"),
     ("10.254.0.10", "fd00::/8"), ("10.254.0.10", "10.253.0.0/16"), (WEB, "*,other")],
)  # fmt: skip
def test_no_proxy_means_nothing_else(host: str, excepted: str) -> None:
    assert not is_excepted(host, excepted)


def test_the_lower_case_no_proxy_counts_where_both_are_there() -> None:
    environ = {"http_proxy": PROXY, "no_proxy": "other.example", "NO_PROXY": "*"}
    assert proxy_for(WEB, "http", environ) is not None


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, ".cluster.local"),
        ({"NO_PROXY": "localhost, .corp"}, "localhost,.corp,.cluster.local"),
        ({"no_proxy": ".corp"}, ".corp,.cluster.local"),
        ({"NO_PROXY": ".corp", "no_proxy": ".lan .corp"}, ".corp,.lan,.cluster.local"),
    ],
)
def test_who_types_the_line_loses_no_exception_in_either_spelling(environ: dict[str, str], wanted: str) -> None:
    assert line_to_type([".cluster.local"], environ) == f'export NO_PROXY="{wanted}" no_proxy="{wanted}"'
