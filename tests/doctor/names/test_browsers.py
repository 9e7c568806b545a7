"""Which settings of browsers are found, and of which it is said that they go past this laptop."""

import json
from pathlib import Path

import pytest

from devlink.core.findings import Severity
from devlink.doctor.names.browsers import Setting, chromes, firefoxes, judge

FIREFOX = ".mozilla/firefox/ab12.default"
POLICY = "etc/firefox/policies/policies.json"


def mode(number: int, *more: str) -> str:
    lines = [f'user_pref("network.trr.mode", {number});', 'user_pref("app.x", "a(b); // c");', *more]
    return "// Mozilla\n" + "\n".join(lines) + "\n"


def policy(**told: object) -> str:
    return json.dumps({"policies": {"DNSOverHTTPS": told}})


def write(place: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, []),
        ({f"{FIREFOX}/prefs.js": mode(5)}, []),
        ({f"{FIREFOX}/prefs.js": mode(3)}, [True]),
        ({f"{FIREFOX}/prefs.js": mode(2)}, [False]),
        ({f"{FIREFOX}/prefs.js": mode(3), f"{FIREFOX}/user.js": mode(0)}, []),
        ({f"{FIREFOX}/prefs.js": mode(0), f"{FIREFOX}/user.js": mode(3)}, [True]),
        ({"snap/firefox/common/.mozilla/firefox/x/prefs.js": mode(3), f"{FIREFOX}/prefs.js": mode(2)}, [False, True]),
        ({POLICY: policy(Enabled=True)}, []),  # no profile: nobody uses it
        ({POLICY: policy(Enabled=True), f"{FIREFOX}/prefs.js": ""}, [False]),
        ({POLICY: policy(Enabled=True, Fallback=False), f"{FIREFOX}/prefs.js": mode(5)}, []),
        ({POLICY: policy(Enabled=True, Fallback=False, Locked=True), f"{FIREFOX}/prefs.js": mode(5)}, [True]),
        ({POLICY: policy(Enabled=False, Locked=True), f"{FIREFOX}/prefs.js": mode(3)}, []),
        ({POLICY: "[]", f"{FIREFOX}/prefs.js": "\0 nonsense"}, []),
    ],
)
def test_firefox_is_read_as_it_reads_itself(tmp_path: Path, files: dict[str, str], found: list[bool]) -> None:
    write(tmp_path, files)
    assert [each.is_alone for each in firefoxes(tmp_path, tmp_path)] == found


def secure(value: str = "secure", **more: str) -> str:
    return json.dumps({"dns_over_https": {"mode": value, **more}})


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({".config/google-chrome/Local State": secure()}, [True]),
        ({".config/google-chrome/Local State": secure("automatic")}, []),  # as it is by default
        ({".config/chromium/Local State": secure("automatic", templates="https://dns.example/")}, [False]),
        ({".config/microsoft-edge/Local State": secure("off")}, []),
        ({"etc/opt/chrome/policies/managed/a.json": '{"DnsOverHttpsMode": "secure"}'}, [True]),
        (
            {
                "etc/opt/chrome/policies/managed/a.json": '{"DnsOverHttpsMode": "off"}',
                ".config/google-chrome/Local State": secure(),
            },
            [],
        ),
        ({"etc/chromium/policies/managed/a.json": "nonsense"}, []),
    ],
)
def test_chromium_and_its_kin_are_read_with_the_policy_first(
    tmp_path: Path, files: dict[str, str], found: list[bool]
) -> None:
    write(tmp_path, files)
    assert [each.is_alone for each in chromes(tmp_path, tmp_path)] == found


@pytest.mark.parametrize(
    ("domain", "excluded", "is_alone", "severity"),
    [
        ("cluster.local", ("local", "localhost"), True, None),
        ("cluster.kube", ("local", "localhost"), True, Severity.WARNING),
        ("cluster.kube", ("local", "localhost"), False, Severity.INFO),
        ("qa.cluster.kube", ("cluster.kube",), True, None),
        ("mycluster.kube", ("cluster.kube",), True, Severity.WARNING),
        ("cluster.local", (), True, Severity.WARNING),
        ("cluster.local", ("",), True, Severity.WARNING),
    ],
)
def test_a_domain_that_is_excepted_is_no_trouble(
    domain: str, excluded: tuple[str, ...], is_alone: bool, severity: Severity | None
) -> None:
    setting = Setting(browser="Firefox", where="prefs.js", is_alone=is_alone, excluded=excluded)
    found = judge([setting], [domain]).findings
    assert [finding.severity for finding in found] == ([severity] if severity else [])


def test_excluded_domains_are_taken_from_the_profile(tmp_path: Path) -> None:
    line = 'user_pref("network.trr.excluded-domains", "intranet, cluster.kube");'
    write(tmp_path, {f"{FIREFOX}/prefs.js": mode(3, line)})
    (setting,) = firefoxes(tmp_path, tmp_path)
    assert judge([setting], ["cluster.kube"]).findings == ()
    assert judge([setting], ["other.kube"]).findings
