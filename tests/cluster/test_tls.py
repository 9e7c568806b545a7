"""TLS as the API is asked by it: nothing old, nobody asked at the terminal, nothing of a key on a disk."""

import ssl

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from devlink.cluster.access import Access, Credentials
from devlink.cluster.tls import context
from devlink.errors import UsageError
from tests.certificates import Authority

CLUSTER = Authority()
ACCESS = Access(name="qa", server="https://192.0.2.1:6443", ca=CLUSTER.pem)


def test_a_version_that_is_broken_is_never_spoken() -> None:
    assert context(ACCESS, Credentials()).minimum_version >= ssl.TLSVersion.TLSv1_2


def test_who_the_server_is_is_checked_unless_it_was_told_not_to() -> None:
    checked = context(ACCESS, Credentials())
    assert (checked.verify_mode, checked.check_hostname) == (ssl.CERT_REQUIRED, True)
    not_checked = context(Access(name="qa", server=ACCESS.server, insecure=True), Credentials())
    assert (not_checked.verify_mode, not_checked.check_hostname) == (ssl.CERT_NONE, False)


def test_a_key_with_a_password_is_an_error_and_nobody_is_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    locked = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"a password"),
    )
    loaded: list[object] = []

    def load(self: ssl.SSLContext, path: str, password: object = None) -> None:
        loaded.append(password)
        assert callable(password), "else OpenSSL reads it from the terminal"
        password()

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load)
    credentials = Credentials(certificate=CLUSTER.issue(subject="jane").certificate, key=locked.decode())
    with pytest.raises(UsageError, match="client certificate of qa cannot be used") as caught:
        context(ACCESS, credentials)
    assert "encrypted" in caught.value.why
    assert len(loaded) == 1


def test_a_certificate_that_does_not_fit_its_key_is_an_error() -> None:
    one, other = CLUSTER.issue(subject="jane"), CLUSTER.issue(subject="joe")
    with pytest.raises(UsageError, match="cannot be used"):
        context(ACCESS, Credentials(certificate=one.certificate, key=other.key))
    context(ACCESS, Credentials(certificate=one.certificate, key=one.key))
