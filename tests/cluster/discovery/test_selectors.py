"""Calico's selectors choose the nodes that Calico would choose, and refuse what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.cluster.discovery.selectors import MAX_SELECTOR, parse_selector

REFLECTOR = {"route-reflector": "true", "topology.kubernetes.io/zone": "a-1", "empty": ""}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("all()", True),
        ("global()", True),
        ("has(route-reflector)", True),
        ("has(rack)", False),
        ("!has(rack)", True),
        ("! has(route-reflector)", False),
        ("route-reflector == 'true'", True),
        ('route-reflector == "true"', True),
        ("route-reflector=='false'", False),
        ("route-reflector != 'false'", True),
        ("rack != 'x'", True),
        ("rack == ''", False),
        ("empty == ''", True),
        ("topology.kubernetes.io/zone in {'a-1', 'b'}", True),
        ("topology.kubernetes.io/zone in {}", False),
        ("topology.kubernetes.io/zone not in {'b'}", True),
        ("rack not in {'b'}", True),
        ("rack in {'b'}", False),
        ("topology.kubernetes.io/zone contains '-'", True),
        ("rack contains ''", False),
        ("topology.kubernetes.io/zone starts with 'a'", True),
        ("topology.kubernetes.io/zone ends with '2'", False),
        ("has(rack) || has(route-reflector)", True),
        ("has(rack) && has(route-reflector)", False),
        ("has(rack) && has(rack) || all()", True),
        ("!(has(rack) || has(route-reflector))", False),
        ("!!has(route-reflector)", True),
        ("  all()  ", True),
    ],
)
def test_a_selector_chooses(selector: str, expected: bool) -> None:
    assert parse_selector(selector)(REFLECTOR) is expected


@pytest.mark.parametrize(
    "selector",
    [
        "", "has()", "has(a", "a ==", "a == b", "a", "== 'b'", "a in 'b'", "a in {b}", "a in {'b'", "all() all()",
        "(all()",
        "all())", "a = 'b'", "'a' == 'b'", "\x00", "a & b", "!" * 100 + "all()", "(" * 100 + "all()" + ")" * 100,
        "all() || " * (MAX_SELECTOR // 8) + "all()", "a not == 'b'",
    ],
)  # fmt: skip
def test_what_is_no_selector_is_an_error(selector: str) -> None:
    with pytest.raises(ValueError, match="selector"):
        parse_selector(selector)


@given(st.text("has(){}!&|=', innotabe\n", max_size=60))
def test_any_text_is_a_selector_or_an_error(text: str) -> None:
    try:
        selector = parse_selector(text)
    except ValueError:
        return
    assert selector({"a": "b"}) in (True, False)


@given(st.recursive(
    st.sampled_from(["has(a)", "a == 'b'", "a != 'b'", "all()"]),
    lambda inner: st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
    | inner.map(lambda t: f"!{t}"),
    max_leaves=8,
))  # fmt: skip
def test_negation_turns_every_selector_around(text: str) -> None:
    for labels in ({}, {"a": "b"}, {"a": "c"}):
        assert parse_selector(f"!({text})")(labels) is not parse_selector(text)(labels)
