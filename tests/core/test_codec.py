"""Trees to dataclasses and back: every fault at once, and nothing lost on the way."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core import codec
from devlink.core.checks import MAX_FAULTS, DecodeError, Fault, Rule, check
from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress, IPNetwork


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def _even(number: int) -> list[Fault]:
    return [Fault("number", f"{number} is odd")] if number % 2 else []


def _ordered(low: int, high: int) -> list[Fault]:
    return [Fault("low", f"{low} is above {high}")] if low > high else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    RULES: ClassVar = (Rule(("number",), _even), Rule(("low", "high"), _ordered))

    number: int = field(default=0, metadata={"schema": {"minimum": 0, "maximum": 10}, "hint": "0 to 10"})
    low: int = 0
    high: int = 0
    tags: tuple[str, ...] | None = field(
        default=None, metadata={"schema": {"minItems": 1, "maxItems": 3, "items": {"pattern": "^[a-z]+$"}}}
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    colour: Colour = Colour.RED
    prefix: IPNetwork | None = None
    pairs: tuple[tuple[IPAddress, int], ...] = ()
    names: Mapping[DomainName, bool] = field(default_factory=dict)
    inner: tuple[Inner, ...] = ()
    ratio: float = 0.0
    text: str = field(default="", metadata={"key": "someText"})
    anything: Any = None


OUTERS = st.builds(
    Outer,
    colour=st.sampled_from(Colour),
    prefix=st.none() | st.builds(ipaddress.ip_network, st.ip_addresses()),
    pairs=st.lists(st.tuples(st.ip_addresses(), st.integers())).map(tuple),
    names=st.dictionaries(st.sampled_from([DomainName.parse(t) for t in ("a.b", "c", ".")]), st.booleans()),
    inner=st.lists(
        st.builds(
            Inner,
            number=st.sampled_from([0, 2, 10]),
            high=st.integers(0, 9),
            tags=st.none() | st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(tuple),
        )
    ).map(tuple),
    ratio=st.floats(allow_nan=False),
    text=st.text(),
)


def faults(tree: object, cls: type = Outer) -> list[str]:
    with pytest.raises(DecodeError) as caught:
        codec.decode(cls, tree)
    return [str(fault) for fault in caught.value.faults]


@given(OUTERS)
def test_what_is_encoded_decodes_to_the_same_value(value: Outer) -> None:
    assert codec.decode(Outer, codec.encode(value)) == value


def test_what_equals_its_default_is_left_out() -> None:
    assert codec.encode(Outer()) == {}
    assert codec.encode(Outer(text="x", inner=(Inner(),))) == {"someText": "x", "inner": [{}]}


@pytest.mark.parametrize(
    ("tree", "fault"),
    [
        ([], "a list is not a mapping"),
        ({"colur": "red"}, "colur: unknown key (did you mean colour?)"),
        ({"zzz": 1}, "zzz: unknown key (known here: colour, prefix, pairs, names, inner, ratio, someText, anything)"),
        ({"a\x1b[31m": 1}, r"'a\x1b[31m': unknown key"),
        ({"SOMETEXT": "x"}, "SOMETEXT: unknown key (did you mean someText?)"),
        ({"colour": "rad"}, "colour: 'rad' is none of red, blue (did you mean red?)"),
        ({"prefix": 10}, "prefix: 10 is not a text (put it in quotes)"),
        ({"prefix": []}, "prefix: a list is not a text"),
        ({"pairs": "x"}, "pairs: 'x' is not a list (put it in [ ])"),
        ({"pairs": [["10.0.0.1"]]}, "pairs[0]: 1 items, not 2"),
        ({"pairs": [["10.0.0.1", "1"]]}, "pairs[0][1]: '1' is not a whole number (write it without quotes)"),
        ({"pairs": [["host", 1]]}, "pairs[0][0]: 'host' is not an IP address (a name cannot be used here)"),
        ({"pairs": [["10.0.0.1/8", 1]]}, "pairs[0][0]: '10.0.0.1/8' is a prefix where one address is wanted"),
        ({"names": {"a..b": True}}, "names.a..b: 'a..b' has an empty label"),
        ({"names": {"a.b": 1}}, "names.a.b: 1 is not true or false"),
        ({"someText": True}, "someText: True is not a text (put it in quotes)"),
        ({"someText": None}, "someText: nothing is not a text"),
        ({"ratio": "x"}, "ratio: 'x' is not a number"),
        ({"inner": [{"number": True}]}, "inner[0].number: True is not a whole number"),
        ({"inner": [{"number": 12}]}, "inner[0].number: 12 is more than 10 (0 to 10)"),
        ({"inner": [{"number": -2}]}, "inner[0].number: -2 is less than 0 (0 to 10)"),
        ({"inner": [{"number": 1}]}, "inner[0].number: 1 is odd"),
        ({"inner": [{"tags": []}]}, "inner[0].tags: an empty list"),
        ({"inner": [{"tags": list("abcd")}]}, "inner[0].tags: 4 entries, more than 3"),
        ({"inner": [{"tags": ["a", "B"]}]}, "inner[0].tags[1]: 'B' is not in the right form"),
        ({"inner": [{"tags": ["a\n"]}]}, r"inner[0].tags[0]: 'a\n' is not in the right form"),
    ],
)
def test_a_wrong_tree_gets_one_fault_with_its_path(tree: object, fault: str) -> None:
    (found,) = faults(tree)
    assert found.startswith(fault)


def test_rules_still_speak_where_other_fields_are_wrong_and_stay_silent_about_the_wrong_ones() -> None:
    assert faults({"inner": [{"number": "x", "low": 2, "high": 1, "more": 0}, {"number": 3, "low": []}]}) == [
        "inner[0].more: unknown key (known here: number, low, high, tags)",
        "inner[0].number: 'x' is not a whole number (write plain decimal digits)",
        "inner[0].low: 2 is above 1",
        "inner[1].low: a list is not a whole number",
        "inner[1].number: 3 is odd",
    ]


def test_a_value_made_in_code_is_held_to_the_same_rules() -> None:
    with pytest.raises(DecodeError) as caught:
        Inner(number=11, low=1)
    assert [fault.path for fault in caught.value.faults] == ["number", "low"]


@pytest.mark.parametrize(
    "tree",
    [
        {"pairs": [["x", 1]] * 100_000},
        {f"key{number}": 0 for number in range(100_000)},
        {"inner": [{"number": 1, "tags": ["X"] * 1000}] * 1000},
    ],
)
def test_a_document_with_many_faults_gets_a_bounded_answer(tree: object) -> None:
    assert len(faults(tree)) == MAX_FAULTS


def test_a_long_or_hostile_value_is_not_repeated_in_full() -> None:
    (fault,) = faults({"colour": "\x1b[2J" + "x" * 1_000_000})
    assert len(fault) < 200
    assert "\x1b" not in fault


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("172.27.0.208/22", "host bits set", "172.27.0.0/22"),
        ("fd00::1/64", "host bits set", "fd00::/64"),
        ("172.20.0.0/16 255.255.0.0", "a prefix length and a mask", "write 172.20.0.0/16 alone"),
        ("172.20.0.0 255.255.0.0", "not a prefix in CIDR form", "write 172.20.0.0/16"),
        ("172.20.0.0/255.255.0.0", "not a prefix in CIDR form", "write 172.20.0.0/16"),
        ("10.0.0.1", "no prefix length", "10.0.0.1/32"),
        ("fd00::1", "no prefix length", "fd00::1/128"),
        ("10.0.0.0/08", "not a prefix in CIDR form", "10.0.0.0/8"),
        ("10.0.0.0/33", "not an IP prefix", "ADDRESS/LENGTH"),
        ("10.0.0.0/-1", "not a prefix in CIDR form", "ADDRESS/LENGTH"),
        ("10.0.0.0/\uff18", "not a prefix in CIDR form", "ADDRESS/LENGTH"),
        (" 10.0.0.0/8", "not an IP prefix", "ADDRESS/LENGTH"),
        ("10.0.0.0/8/8", "not a prefix in CIDR form", "ADDRESS/LENGTH"),
        ("010.0.0.0/8", "not an IP prefix", "ADDRESS/LENGTH"),
        ("", "not a prefix in CIDR form", "ADDRESS/LENGTH"),
    ],
)
def test_a_prefix_is_read_as_strictly_as_a_route_needs_it(text: str, problem: str, hint: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        codec.parse_prefix(text)
    assert hint in caught.value.args[1]


@given(st.text(max_size=30) | st.from_regex(r"[0-9a-f.:]{0,20}(/[0-9.]{0,4})?", fullmatch=True))
def test_any_text_is_a_prefix_or_a_clear_refusal(text: str) -> None:
    try:
        prefix = codec.parse_prefix(text)
    except ValueError as error:
        problem, hint = error.args
        assert problem
        assert hint
    else:
        assert prefix == ipaddress.ip_network(text)
