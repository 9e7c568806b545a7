"""Varlink calls and replies as data, our errors across a socket, and the interface files beside their handlers."""

import asyncio
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink import __version__
from devlink.agent.refresh import Refresher
from devlink.agent.server import Agent
from devlink.agent.supervisor import Supervisor
from devlink.dns.control import INTERFACE as FORWARDER
from devlink.errors import BY_NAME, DevlinkError, ProfileError, ProtocolError, UnexpectedError
from devlink.helper.journal import Journal
from devlink.helper.machine import Machine
from devlink.helper.parts import Parts
from devlink.helper.policy import Policy
from devlink.helper.truststore import TrustStore
from devlink.helper.verbs import Helper
from devlink.relay.server import INTERFACE as RELAY
from devlink.relay.server import Relay
from devlink.resolvers.files import INTERFACE as FILES
from devlink.rpc import varlink
from devlink.rpc.framing import FrameReader, pack
from devlink.rpc.varlink import Call
from tests.rpc.interface_files import methods_of

INTERFACES = sorted(
    entry.name.removesuffix(".varlink")
    for entry in resources.files(varlink.INTERFACE_DESCRIPTIONS).iterdir()
    if entry.name.endswith(".varlink")
)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
errors = st.builds(
    lambda cls, what, why, next_step: cls(what, why=why, next_step=next_step),
    st.sampled_from(sorted(BY_NAME.values(), key=lambda cls: cls.__name__)),
    st.text(),
    st.text(),
    st.text(),
)


def across(message: dict[str, Any]) -> dict[str, Any]:
    """A message as it comes out at the other end of a socket."""
    (received,) = FrameReader().feed(pack(message))
    return received


@given(
    method=st.from_regex(r"[a-z]+\.[a-z]+\.[A-Z][a-z]+", fullmatch=True),
    parameters=st.dictionaries(st.text(), anything, max_size=3),
    more=st.booleans(),
)
def test_a_call_comes_out_as_it_was_made(method: str, parameters: dict[str, Any], more: bool) -> None:
    received = varlink.parse_call(across(varlink.call(method, parameters, more=more)))
    assert received == Call(method=method, parameters=parameters, more=more)
    assert received.interface + "." + received.method.rpartition(".")[2] == method


@given(message=st.dictionaries(st.sampled_from(["method", "parameters", "more", "oneway", "x"]), anything))
def test_whatever_comes_is_a_call_or_a_protocol_error(message: dict[str, Any]) -> None:
    try:
        call = varlink.parse_call(message)
    except ProtocolError:
        return
    assert call.method == message["method"]
    assert isinstance(call.parameters, dict)


@given(parameters=st.dictionaries(st.text(), anything, max_size=3), continues=st.booleans())
def test_a_reply_comes_out_as_it_was_made(parameters: dict[str, Any], continues: bool) -> None:
    assert varlink.parse_reply(across(varlink.reply(parameters, continues=continues))) == (parameters, continues)


@given(error=errors)
def test_an_error_comes_out_as_the_class_that_was_raised_with_all_its_words(error: DevlinkError) -> None:
    with pytest.raises(type(error)) as received:
        varlink.parse_reply(across(varlink.error_reply("io.devlink.Helper", error)))
    assert type(received.value) is type(error)
    assert (received.value.what, received.value.why, received.value.next_step) == (
        error.what,
        error.why,
        error.next_step,
    )


def test_the_faults_of_a_profile_cross_too() -> None:
    error = ProfileError("It is invalid.", faults=("spec.pods: empty", "spec.mtu: too small"))
    with pytest.raises(ProfileError) as received:
        varlink.parse_reply(across(varlink.error_reply("io.devlink.Helper", error)))
    assert received.value.faults == error.faults


@given(message=st.dictionaries(st.sampled_from(["error", "parameters", "continues"]), anything))
def test_whatever_is_replied_is_parameters_or_a_deliberate_error(message: dict[str, Any]) -> None:
    try:
        parameters, _ = varlink.parse_reply(message)
    except DevlinkError:
        return
    assert isinstance(parameters, dict)


def test_an_error_of_a_kind_that_we_do_not_know_is_an_unexpected_one_with_its_words() -> None:
    reply = {"error": "io.devlink.Helper.Failed", "parameters": {"kind": "Newer", "what": "Something new."}}
    with pytest.raises(UnexpectedError, match="Something new"):
        varlink.parse_reply(reply)


def test_the_standard_errors_of_another_version_say_what_to_restart() -> None:
    with pytest.raises(ProtocolError, match=r"io\.devlink\.Helper\.New") as error:
        varlink.parse_reply(across(varlink.no_such_method("io.devlink.Helper.New")))
    assert "devlink --version" in error.value.next_step


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_service_describes_itself_and_only_itself(interface: str) -> None:
    info = varlink.describe_service(Call(method="org.varlink.service.GetInfo"), (interface,))
    assert info is not None
    assert info["parameters"]["version"] == __version__
    assert interface in info["parameters"]["interfaces"]
    method = "org.varlink.service.GetInterfaceDescription"
    described = varlink.describe_service(Call(method=method, parameters={"interface": interface}), (interface,))
    assert described == {"parameters": {"description": varlink.interface_description(interface)}}
    other = varlink.describe_service(Call(method=method, parameters={"interface": "../../errors"}), (interface,))
    assert other is not None
    assert other["error"] == "org.varlink.service.InterfaceNotFound"
    assert varlink.describe_service(Call(method=f"{interface}.GetInfo"), (interface,)) is None


def test_the_helper_and_the_agent_serve_exactly_the_methods_that_their_files_declare(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(tmp_path, private=True)
    policy = Policy()
    machine = Machine(policy=policy, journal=Journal(tmp_path / "journal"), parts=parts)
    helper = Helper(policy=policy, machine=machine, trust=TrustStore(tmp_path, tmp_path))
    assert helper.server.methods == methods_of("io.devlink.Helper")
    supervisor = Supervisor(tmp_path)
    assert Agent(supervisor, Refresher(supervisor)).server.methods == methods_of("io.devlink.Agent")


def test_the_relay_serves_exactly_the_methods_that_its_file_declares() -> None:
    async def methods() -> frozenset[str]:
        relay = Relay({}, connections=1)
        await relay.close()
        return relay.server.methods

    assert asyncio.run(methods()) == methods_of("io.devlink.Relay")


def test_every_interface_file_belongs_to_a_process() -> None:
    assert sorted(["io.devlink.Agent", FILES, FORWARDER, "io.devlink.Helper", RELAY]) == INTERFACES


# The grammar of an interface file (varlink.org, "Interface Definition"), as far as ours use it.

NAME, FIELD = r"[A-Z][A-Za-z0-9]*", r"[A-Za-z](?:_?[A-Za-z0-9])*"
TOKEN = re.compile(rf"\s*(?:#[^\n]*\n\s*)*(->|\[string\]|\[\]|[?:,()]|{FIELD}(?:\.[A-Za-z0-9]+)*)")
SIMPLE = {"bool", "int", "float", "string", "object"}


class InterfaceFile:
    """Reads one file; raises AssertionError with the place where the grammar is broken."""

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        position = 0
        while text[position:].strip() and (match := TOKEN.match(text, position)):
            self.tokens.append(match[1])
            position = match.end()
        assert not text[position:].strip(), f"no token: {text[position : position + 40]!r}"
        self.position = 0
        self.used: set[str] = set()
        self.declared: dict[str, str] = {}
        self._take("interface")
        self.interface = self._next()
        while self.position < len(self.tokens):
            kind, name = self._next(), self._next()
            assert kind in ("type", "error", "method"), kind
            assert re.fullmatch(NAME, name), name
            assert name not in self.declared, f"{name} stands twice"
            self.declared[name] = kind
            self._struct()
            if kind == "method":
                self._take("->")
                self._struct()
        missing = {name for name in self.used if self.declared.get(name) != "type"}
        assert not missing, f"no type {missing}"

    def _next(self) -> str:
        self.position += 1
        return self.tokens[self.position - 1]

    def _peek(self) -> str:
        return self.tokens[self.position]

    def _take(self, token: str) -> None:
        found = self._next()
        assert found == token, f"{found} where {token} belongs, after {self.tokens[self.position - 6 : self.position]}"

    def _struct(self) -> None:
        """A structure or an enumeration: `(name: type, ...)` or `(name, ...)`."""
        self._take("(")
        names = []
        while self._peek() != ")":
            names.append(self._next())
            assert re.fullmatch(FIELD, names[-1]), names[-1]
            if self._peek() == ":":
                self._take(":")
                self._type()
            if self._peek() != ")":
                self._take(",")
                assert self._peek() != ")", "a comma before the end"
        assert len(set(names)) == len(names), f"a field stands twice in {names}"
        self._take(")")

    def _type(self) -> None:
        while self._peek() in ("?", "[]", "[string]"):
            optional = self._next() == "?"
            assert not (optional and self._peek() == "?"), "optional twice"
        if self._peek() == "(":
            self._struct()
            return
        name = self._next()
        if name not in SIMPLE:
            self.used.add(name)


@pytest.mark.parametrize("interface", INTERFACES)
def test_an_interface_file_follows_the_grammar_and_uses_the_types_that_it_declares(interface: str) -> None:
    file = InterfaceFile(varlink.interface_description(interface))
    assert file.interface == interface
    assert {name for name, kind in file.declared.items() if kind == "type"} == file.used
    assert {name for name, kind in file.declared.items() if kind == "method"} == methods_of(interface)
    assert file.declared["Failed"] == "error"


@pytest.mark.parametrize(
    "broken",
    [
        "interface a.b\nmethod M() -> (x: Missing)",
        "interface a.b\nmethod M() (x: int)",
        "interface a.b\nmethod m() -> ()",
        "interface a.b\ntype T (a: int a: int)",
        "interface a.b\ntype T (a: int,)",
        "interface a.b\ntype T (a: ??int)",
        "interface a.b\ntype T (a: int)\ntype T (b: int)",
        "interface a.b\ntype T (a-b: int)",
    ],
)
def test_the_reader_of_interface_files_refuses_what_varlink_would(broken: str) -> None:
    with pytest.raises((AssertionError, IndexError)):
        InterfaceFile(broken)


OURS = """# what it is for
interface io.example

type Place (name: string,
  port: int)

# goes there
method Go(place: Place) -> (took: float)
error Lost (why: string)
"""


@pytest.mark.parametrize(
    ("theirs", "is_included"),
    [
        (OURS, True),
        (OURS.replace("# goes there", "# goes there, and says\n# how long that took"), True),
        (OURS.replace("(name: string,\n  port: int)", "(name: string, port: int)"), True),
        (OURS + "\nmethod Stop() -> ()\n", True),
        (OURS.replace("took: float", "took: float, by: string"), False),
        (OURS.replace("port: int", "port: ?int"), False),
        (OURS.replace("method Go", "method Walk"), False),
        (OURS.replace("io.example", "io.another"), False),
        ("", False),
    ],
)
def test_an_interface_includes_another_that_it_has_word_for_word(theirs: str, is_included: bool) -> None:
    assert varlink.includes(theirs, OURS) is is_included


def test_a_process_describes_the_interface_that_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "described").mkdir()
    (tmp_path / "described/io.example.varlink").write_text(OURS)
    monkeypatch.setattr(varlink, "INTERFACE_DESCRIPTIONS", "described")
    varlink.interface_description.cache_clear()
    assert varlink.interface_description("io.example") == OURS
    (tmp_path / "described/io.example.varlink").write_text("interface io.example\n")  # an upgrade
    assert varlink.interface_description("io.example") == OURS
    varlink.interface_description.cache_clear()
