"""Pins of CA keys, against the cryptography package as the oracle."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.cluster.pins import certificates, parse_pin, pin_of, pinned
from devlink.errors import UsageError
from tests.certificates import Authority

CLUSTER, STRANGER = Authority(), Authority.another()
PIN = f"sha256:{hashlib.sha256(CLUSTER.public_key).hexdigest()}"


def body(pem: str) -> bytes:
    return base64.b64decode("".join(pem.strip().splitlines()[1:-1]))


def wrapped(der: bytes) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(der).decode()}-----END CERTIFICATE-----\n"


def test_a_pin_is_the_hash_of_the_public_key_as_the_certificate_has_it() -> None:
    assert pin_of(CLUSTER.pem) == PIN
    assert pin_of(STRANGER.pem) == f"sha256:{hashlib.sha256(STRANGER.public_key).hexdigest()}"
    assert pin_of(CLUSTER.issue("a.example").certificate) != PIN


def test_only_what_has_the_pinned_key_is_taken_from_a_bundle() -> None:
    bundle = f"# words\n{STRANGER.pem}\n{wrapped(b'0')}{CLUSTER.pem}"
    assert len(certificates(bundle)) == 3
    assert pinned(bundle, PIN) == (CLUSTER.pem,)
    assert pinned(STRANGER.pem, PIN) == ()
    assert pinned("", PIN) == ()


# Each run has its own keys, and tests must have the same names in every process.
@pytest.mark.parametrize(
    "text", [PIN, f" {PIN.upper()} ", PIN.replace("sha256", "SHA256")], ids=["small", "large", "mixed"]
)
def test_a_pin_is_taken_as_kubeadm_writes_it(text: str) -> None:
    assert parse_pin(text) == PIN


@pytest.mark.parametrize(
    "text",
    ["", "sha256:", PIN[7:], PIN[:-1], PIN + "0", "sha1:" + "0" * 40, PIN[:-1] + "g"],
    ids=["empty", "bare", "unnamed", "short", "long", "sha1", "no-digit"],
)
def test_what_is_no_pin_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no hash"):
        parse_pin(text)


@given(st.binary(max_size=80))
def test_octets_that_are_no_certificate_have_no_pin(der: bytes) -> None:
    with pytest.raises(ValueError, match=r"certificate|cut off|length|longer"):
        pin_of(wrapped(der))


@given(st.integers(min_value=0, max_value=300), st.integers(min_value=1, max_value=255))
def test_a_certificate_with_a_changed_octet_never_passes_for_another(place: int, change: int) -> None:
    spoilt = bytearray(body(CLUSTER.pem))
    key_begins = bytes(spoilt).index(CLUSTER.public_key)
    place %= len(spoilt)
    spoilt[place] ^= change
    in_key = key_begins <= place < key_begins + len(CLUSTER.public_key)
    found = pinned(wrapped(bytes(spoilt)), PIN)
    assert not (found and in_key)
