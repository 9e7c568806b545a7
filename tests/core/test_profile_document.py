"""Profiles as documents: every document is a valid profile or a bounded list of faults, quickly."""

import json
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from devlink.core import codec, yaml_tree
from devlink.core.checks import MAX_FAULTS
from devlink.core.profile import BridgeProfile
from devlink.core.profile_document import MAX_BYTES, decode_profile, encode_profile
from devlink.errors import ProfileError
from tests.core.profiles import SAMPLE, pem, profiles

SAMPLES = sorted((Path(__file__).parents[2] / "profiles").glob("*.yaml"))


def faults(text: str | bytes) -> tuple[str, ...]:
    with pytest.raises(ProfileError) as caught:
        decode_profile(text)
    assert caught.value.exit_code == 8
    return caught.value.faults


def big_document(count: int) -> str:
    """A profile of `count` nodes with one block of /26 each."""
    nodes = "".join(
        f"  - {{address: 172.{16 + (i >> 16)}.{(i >> 8) & 255}.{i & 255},"
        f" pods: [10.{64 + (i >> 10)}.{(i >> 2) & 255}.{(i & 3) * 64}/26]}}\n"
        for i in range(count)
    )
    head = "apiVersion: devlink/v1alpha1\nkind: BridgeProfile\nmetadata: {name: big}\nspec:\n  pods: [10.64.0.0/10]\n"
    return f"{head}  nodes:\n{nodes}"


@pytest.fixture(scope="module")
def honest_cost() -> float:
    """Seconds of CPU for a profile of 20,000 blocks, on this machine."""
    text = big_document(20_000)
    start = time.process_time()
    decode_profile(text)
    return time.process_time() - start


@given(profiles())
def test_a_profile_survives_being_written_and_read(profile: BridgeProfile) -> None:
    text = encode_profile(profile)
    again = decode_profile(text)
    assert again == profile
    assert encode_profile(again) == text
    assert decode_profile(text.encode()) == profile


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: str(path.stem))
def test_every_sample_is_valid_and_canonical_after_one_pass(path: Path) -> None:
    profile = decode_profile(path.read_bytes())
    assert decode_profile(encode_profile(profile)) == profile


def test_there_is_a_sample_for_each_of_the_five_networks() -> None:
    assert [path.name[:2] for path in SAMPLES] == ["a-", "b-", "c-", "d-", "e-"]
    assert len({decode_profile(path.read_bytes()).metadata.name for path in SAMPLES}) == len(SAMPLES)


def test_what_is_default_is_left_out_of_the_canonical_document() -> None:
    text = encode_profile(decode_profile(SAMPLE))
    assert "routing" not in text
    assert "reverse" not in text
    assert "priority: 10" not in text
    assert "priority: 20" in text


def test_certificates_are_written_as_a_block_and_in_one_form() -> None:
    crlf = ("# the cluster's CA\n" + pem()).replace("\n", "\\r\\n")
    profile = decode_profile(f"{SAMPLE}\n".replace("provenance:", f'  identity: {{ca: "{crlf}"}}\nprovenance:'))
    assert profile.spec.identity is not None
    assert profile.spec.identity.ca == decode_profile(encode_profile(profile)).spec.identity.ca  # type: ignore[union-attr]
    assert "ca: |\n" in encode_profile(profile)
    assert "#" not in profile.spec.identity.ca


@pytest.mark.parametrize(
    "text",
    [
        "a: &x 1",
        "a: *x",
        "a: !x y",
        "[" * 50_000,
        "a: [",
        "a: \x07",
        "a: 1\n---\nb: 2",
        "%TAG ! tag:x:\n---\na: 1",
        "",
        "'",
    ],
)
def test_without_the_c_library_the_same_is_read_and_the_same_is_refused(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = decode_profile(SAMPLE)
    monkeypatch.setattr(yaml_tree, "_LOADER", yaml.SafeLoader)
    assert decode_profile(SAMPLE) == wanted
    assert len(faults(text)) == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "an empty document"),
        ("# nothing\n", "an empty document"),
        ("---\n", "an empty document"),
        ("just text", "'just text' is not a mapping"),
        ("- a\n", "a list is not a mapping"),
        ("kind: ConfigMap\ndata: {}", "kind: ConfigMap is not BridgeProfile (take the text of its data, profile.yaml)"),
        ("a: 1\nb: [1\n\n", "line 4, column 1: not YAML: while parsing a flow sequence"),
        ("\ta: 1", "line 1, column 1: not YAML"),
        ("a: b: c", "line 1, column 5: not YAML"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1: a second document"),
        ("a: &x 1\n", "line 1, column 4: an anchor or alias"),
        ("&x a: 1\n", "line 1, column 1: an anchor or alias"),
        ("a: *x\n", "line 1, column 4: an anchor or alias"),
        ("<<: {a: 1}\n", "line 1, column 1: a merge key"),
        ("a: !!python/object/apply:os.system [x]\n", "line 1, column 4: a tag"),
        ("a: !!str 1\n", "line 1, column 4: a tag"),
        ("!x {}\n", "line 1, column 1: a tag"),
        ("%TAG ! tag:example.org:\n---\na: 1\n", "line 1, column 1: a %TAG directive"),
        ("? [a]\n: b\n", "line 1, column 3: a key that is not a text"),
        ('"a\\e[31m": 1\n', "line 1, column 1: 'a\\x1b[31m' cannot be a key"),
        ("? " + "k" * 2000 + "\n: 1\n", "line 1, column 3: 'kkk"),
        ("[" * 100_000, "line 1, column 14: nested more than 12 deep"),
        ("- " * 100_000, "line 1, column 27: nested more than 12 deep"),
        ("a: x\0y\n", "NUL bytes: not a text file"),
        ("a: \x07\n", "not YAML"),
        ("a: \ud800\n", "not text in UTF-8"),
        (b"\xff\xfea\0:\0", "not text in UTF-8"),
        (SAMPLE.encode("utf-16-le"), "NUL bytes: not a text file"),
        ("é: ü\n".encode("latin-1"), "not text in UTF-8"),
        (b"x" * (MAX_BYTES + 1), "larger than 4 MiB (is this the right file?)"),
        ("é" * (MAX_BYTES // 2 + 1), "larger than 4 MiB (is this the right file?)"),
        (SAMPLE + pem(label="EC PRIVATE KEY"), "A PRIVATE KEY is in this document"),
    ],
)
def test_what_is_no_plain_document_gets_one_fault_that_says_where(text: str | bytes, fault: str) -> None:
    (found,) = faults(text)
    assert found.startswith(fault)
    assert len(found) < 300


@pytest.mark.parametrize(
    "text",
    [
        b"a: 1\n" * 2_000_000,
        "a: [" + "&a b, " * 600_000 + "]",
        "a: &a [x]\n" + "b: [" + "*a, " * 900_000 + "]",
        "[" + "a," * 2_000_000 + "]",
        "{" + ",".join(f"a{i}: 1" for i in range(100_000)) + "}",
        "0" + "_" * 1_000_000 + "x",
        "{a: " * 10,
        "[" * 4_000_000,
        SAMPLE.replace("[10.20.0.0/16,", "[" + "10.20.0.0/8," * 200_000),
        SAMPLE.replace("[10.20.0.0/16,", "[" + "10.20.0.0/16," * 100_000),
    ],
    ids=[
        "10 MB", "anchors", "aliases", "two million scalars", "many keys", "a long number", "cut off", "brackets",
        "many faults", "many overlaps",
    ],
)  # fmt: skip
@pytest.mark.slow
def test_a_hostile_document_costs_no_more_than_a_few_honest_big_ones(text: str | bytes, honest_cost: float) -> None:
    start = time.process_time()
    assert 1 <= len(faults(text)) <= MAX_FAULTS
    assert time.process_time() - start < 4 * honest_cost


@pytest.mark.slow
def test_twenty_thousand_blocks_fit_and_cost_as_much_apiece_as_two_thousand() -> None:
    costs = []
    for count in (2_000, 20_000):
        text = big_document(count)
        assert len(text) < MAX_BYTES
        start = time.process_time()
        profile = decode_profile(text)
        costs.append((time.process_time() - start) / count)
        assert len(profile.spec.nodes or ()) == count
    assert costs[1] < 4 * costs[0]
    assert len(encode_profile(profile)) < MAX_BYTES


def test_a_key_twice_is_a_fault_with_both_lines_beside_the_others() -> None:
    text = SAMPLE.replace("  mtu: 1480\n", "  mtu: 1480\n  mtu: 1400\n  mtuu: 1\n")
    line = text[: text.index("  mtu: 1400")].count("\n") + 1
    assert faults(text) == (
        f"line {line}: key mtu for the second time (see line {line - 1})",
        "spec.mtuu: unknown key (did you mean mtu?)",
    )


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault() -> None:
    text = SAMPLE.replace("\n", "\r\n")
    assert decode_profile(b"\xef\xbb\xbf" + text.encode()) == decode_profile(SAMPLE)


def test_json_is_yaml() -> None:
    profile = decode_profile(SAMPLE)
    assert decode_profile(json.dumps(codec.encode(profile), indent=2)) == profile


def test_words_that_older_yaml_takes_for_something_else_are_the_texts_that_they_look_like() -> None:
    text = SAMPLE.replace("[default, qa]", "[no, on, off, y, yes, 1e3, 010, 0o7]").replace(
        '"2026-11-20T09:00:00Z"', "2026-11-20"
    )
    text = text.replace('"fd00:16::13", role', "20:30:40:50:51:52:53:54, role")  # base sixty, to YAML 1.1
    profile = decode_profile(text)
    assert profile.metadata.revision == "2026-11-20"
    assert profile.spec.dns is not None
    assert profile.spec.dns.namespaces == ("no", "on", "off", "y", "yes", "1e3", "010", "0o7")
    assert profile.spec.gateways is not None
    assert str(profile.spec.gateways[1].address) == "20:30:40:50:51:52:53:54"
    written = encode_profile(profile)
    assert "'no'" in written  # so that no other reader of YAML takes it for false
    assert decode_profile(written) == profile


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("reverse: true", "reverse: yes", "spec.dns.reverse: 'yes' is not true or false"),
        ("[default, qa]", "[default, true]", "spec.dns.namespaces[1]: True is not a text (put it in quotes)"),
        ("[default, qa]", "[default, 7]", "spec.dns.namespaces[1]: 7 is not a text (put it in quotes)"),
        ("[default, qa]", "[default, null]", "spec.dns.namespaces[1]: nothing is not a text"),
        ("[default, qa]", "", "spec.dns.namespaces: no value (leave the key out"),
        ("mtu: 1480", "mtu: '1480'", "spec.mtu: '1480' is not a whole number (write it without quotes)"),
        ("mtu: 1480", "mtu: 1480.0", "spec.mtu: '1480.0' is not a whole number (write plain decimal digits)"),
        ("mtu: 1480", "mtu: 01480", "spec.mtu: '01480' is not a whole number (write plain decimal digits)"),
        ("mtu: 1480", "mtu: 0x5c8", "spec.mtu: '0x5c8' is not a whole number (write plain decimal digits)"),
        ("mtu: 1480", "mtu: 1_480", "spec.mtu: '1_480' is not a whole number (write plain decimal digits)"),
        ("mtu: 1480", "mtu: 24:40", "spec.mtu: '24:40' is not a whole number (write plain decimal digits)"),
        ("mtu: 1480", "mtu: " + "9" * 5000, "spec.mtu: '999"),
        ('pods: [10.20.0.0/16, "fd00:20::/48"]', "pods:", "spec.pods: no value (leave the key out"),
    ],
)
def test_what_yaml_reads_in_another_way_than_meant_is_a_clear_fault(old: str, new: str, fault: str) -> None:
    text = SAMPLE.replace(old, new)
    assert text != SAMPLE
    assert any(found.startswith(fault) for found in faults(text)), faults(text)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_text_is_a_profile_or_a_profile_error(text: bytes | str) -> None:
    assert faults(text)


@given(
    st.integers(0, len(SAMPLE)), st.integers(0, 8), st.text(st.sampled_from("[]{}:,&*!|>-# \n\t'\"%@`a1./"), max_size=8)
)
def test_a_damaged_profile_is_a_profile_or_a_profile_error(at: int, drop: int, put: str) -> None:
    text = SAMPLE[:at] + put + SAMPLE[at + drop :]
    try:
        profile = decode_profile(text)
    except ProfileError:
        return
    assert decode_profile(encode_profile(profile)) == profile
