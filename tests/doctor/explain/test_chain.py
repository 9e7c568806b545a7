"""What programs get of a chain."""

from devlink.core.explain import parse_target
from devlink.core.findings import Finding, Severity
from devlink.doctor.explain.chain import Chain, Link, tree

BROKEN = Finding(code="DL-X", severity=Severity.ERROR, title="It is broken.", evidence="this", fix="mend it")
SEEN = (Link(name="asked", text="a"), Link(name="data", text="b", about="10.0.0.1", finding=BROKEN),
        Link(name="way", text="c", is_known=False))  # fmt: skip


def test_a_program_has_each_link_and_the_findings() -> None:
    told = tree(Chain(target=parse_target("http://web.qa"), links=SEEN))
    assert told["whole"] is False
    assert told["asked"] == {"text": "http://web.qa", "scheme": "http", "host": "web.qa", "port": 80}
    assert [each["outcome"] for each in told["links"]] == ["ok", "error", "skipped"]
    assert told["links"][1]["finding"] == told["findings"][0]["code"] == "DL-X"
