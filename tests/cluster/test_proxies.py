"""Which proxy leads to an API, by Go's rules."""

import pytest

from devlink.cluster.access import Access
from devlink.cluster.proxies import proxy_for
from devlink.errors import UsageError

PROXY = "http://proxy.example.com:3128"


@pytest.mark.parametrize(
    ("server", "environ", "proxy"),
    [
        ("https://api.example.com", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https://api.example.com", {"https_proxy": PROXY}, PROXY),
        ("https://api.example.com", {"https_proxy": "proxy.example.com:3128"}, PROXY),
        ("https://api.example.com", {"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}, ""),
        ("http://api.example.com", {"HTTP_PROXY": PROXY}, PROXY),
        ("https://localhost:6443", {"HTTPS_PROXY": PROXY}, ""),
        ("https://127.0.0.1:6443", {"HTTPS_PROXY": PROXY}, ""),
        ("https://[::1]:6443", {"HTTPS_PROXY": PROXY}, ""),
        ("https://[2001:db8::6]:6443", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https://api.example.com", {}, ""),
    ],
)
def test_the_environment_names_it(server: str, environ: dict[str, str], proxy: str) -> None:
    assert proxy_for(Access(name="qa", server=server), environ) == proxy


@pytest.mark.parametrize(
    ("excluded", "host", "goes_by_it"),
    [
        ("*", "api.example.com", False),
        ("example.com", "api.example.com", False),
        ("example.com", "example.com", False),
        (".example.com", "api.example.com", False),
        (".example.com", "example.com", True),
        ("*.example.com", "api.example.com", False),
        ("ample.com", "api.example.com", True),
        ("EXAMPLE.com", "api.example.COM", False),
        ("api.example.com:6443", "api.example.com:6443", False),
        ("api.example.com:443", "api.example.com:6443", True),
        ("api.example.com:443", "api.example.com", False),
        ("10.0.0.0/8", "10.1.2.3", False),
        ("10.0.0.0/8", "11.1.2.3", True),
        ("10.0.0.0/8", "api.example.com", True),
        ("10.1.2.3", "10.1.2.3", False),
        ("2001:db8::/32", "[2001:db8::6]", False),
        ("2001:db8::6", "[2001:db8::6]", False),
        ("nonsense/8, ,10.1.2.3", "10.1.2.3", False),
        ("[2001:db8::6]:443", "[2001:db8::6]", False),
        ("[2001:db8::6]:80", "[2001:db8::6]", True),
        ("", "10.1.2.3", True),
    ],
)
def test_no_proxy_excludes(excluded: str, host: str, goes_by_it: bool) -> None:
    found = proxy_for(Access(name="qa", server=f"https://{host}"), {"HTTPS_PROXY": PROXY, "NO_PROXY": excluded})
    assert bool(found) is goes_by_it


def test_the_kubeconfigs_own_goes_before_all_of_it() -> None:
    access = Access(name="qa", server="https://10.1.2.3", proxy="socks5://127.0.0.1:1080")
    assert proxy_for(access, {"NO_PROXY": "*", "HTTPS_PROXY": PROXY}) == "socks5://127.0.0.1:1080"


def test_a_port_that_is_left_out_is_the_schemes() -> None:
    environ = {"HTTP_PROXY": PROXY, "NO_PROXY": "api.example.com:80"}
    assert proxy_for(Access(name="qa", server="http://api.example.com"), environ) == ""
    assert proxy_for(Access(name="qa", server="http://api.example.com:443"), environ) == PROXY


@pytest.mark.parametrize("proxy", ["http://joe:s3cret@[bad:3128", "http://", "http://x:99999"])
def test_one_that_is_no_url_is_named_without_its_secret(proxy: str) -> None:
    with pytest.raises(UsageError, match="HTTPS_PROXY is no URL") as caught:
        proxy_for(Access(name="qa", server="https://192.0.2.6:6443"), {"HTTPS_PROXY": proxy})
    assert "s3cret" not in str(caught.value)
