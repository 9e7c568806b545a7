"""Certificates by the hash of their public key: `sha256:HEX` over SubjectPublicKeyInfo, as `kubeadm join` takes it."""

import binascii
import hashlib
import hmac
import re
import ssl

from devlink.errors import UsageError

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION = 0x30, 0xA0
_BEFORE_KEY = 5
"""Fields of a TBSCertificate between the version and the key: serial, signature, issuer, validity, subject."""


def parse_pin(text: str) -> str:
    """The canonical form of a pin: `sha256:` and 64 digits. Raises UsageError."""
    pin = text.strip().lower()
    if not re.fullmatch("sha256:[0-9a-f]{64}", pin):
        raise UsageError(
            "That is no hash of a CA's key.",
            why="It has the form sha256:HEX, with 64 hexadecimal digits.",
            next_step="On a control plane node: kubeadm token create --print-join-command shows it.",
        )
    return pin


def certificates(text: str) -> tuple[str, ...]:
    """The PEM certificates in a text."""
    return tuple(f"{found}\n" for found in _PEM.findall(text))


def pinned(text: str, pin: str) -> tuple[str, ...]:
    """Those certificates of a PEM text that have the pinned key: others beside them prove nothing."""
    return tuple(each for each in certificates(text) if hmac.compare_digest(_pin_or_nothing(each), pin))


def pin_of(certificate: str) -> str:
    """The pin of one PEM certificate. Raises ValueError where it is none."""
    try:
        der = ssl.PEM_cert_to_DER_cert(certificate)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    return f"sha256:{hashlib.sha256(_public_key(der)).hexdigest()}"


def _pin_or_nothing(certificate: str) -> str:
    try:
        return pin_of(certificate)
    except ValueError:
        return ""


def _public_key(der: bytes) -> bytes:
    """SubjectPublicKeyInfo as it stands in a certificate (RFC 5280 section 4.1), with its tag and length."""
    place, _ = _enter(der, 0)  # Certificate
    place, end = _enter(der, place)  # TBSCertificate
    if der[place : place + 1] == bytes([_VERSION]):
        place = _content(der, place)[1]
    for _ in range(_BEFORE_KEY):
        place = _content(der, place)[1]
    _, behind = _enter(der, place)
    if behind > end:
        raise ValueError("a field that is longer than what it lies in")
    return der[place:behind]


def _enter(der: bytes, place: int) -> tuple[int, int]:
    if der[place : place + 1] != bytes([_SEQUENCE]):
        raise ValueError("no certificate")
    return _content(der, place)


def _content(der: bytes, place: int) -> tuple[int, int]:
    """Where the content of the value at `place` begins and ends (X.690 section 8.1.3, definite lengths)."""
    try:
        length, place = der[place + 1], place + 2
        if length >= 0x80:
            octets = length & 0x7F
            if not 1 <= octets <= 4:
                raise ValueError("a length that no certificate has")
            length, place = int.from_bytes(der[place : place + octets]), place + octets
    except IndexError:
        raise ValueError("cut off") from None
    if place + length > len(der):
        raise ValueError("cut off")
    return place, place + length
