"""What is masked in a report: every secret in every dress; and what is not: what a colleague needs to read."""

import base64
import json
import shlex
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from devlink.doctor.report.anonymizing import Anonymizer
from devlink.doctor.report.masking import Masker, is_secret

KEY = b"0123456789abcdef"
NAMES = (
    "token",
    "password",
    "client-key-data",
    "client-certificate-data",
    "clientSecret",
    "DB_PASSWORD",
    "api_key",
    "psk",
)
PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def mask(text: str) -> str:
    return Masker(KEY).mask(text)


def _pem(label: str, body: str) -> str:
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"


def _b64(secret: str, repeat: int = 1) -> str:
    return base64.b64encode(secret.encode() * repeat).decode()


Carrier = Callable[[str, str], str]
"""A name and a secret as a text."""
NAMED: dict[str, Carrier] = {
    "YAML": lambda name, secret: yaml.safe_dump({"users": [{"user": {name: secret, "kept": "readable"}}]}),
    "YAML, narrow": lambda name, secret: yaml.safe_dump({"a": {name: f"{secret} {secret}", "z": 1}}, width=10),
    "YAML, flow": lambda name, secret: f"user: {{{name}: {json.dumps(secret)}, kept: readable}}\n",
    "YAML, literal": lambda name, secret: (
        f"a:\n  {name}: |\n    {secret}\n    {secret}\n\n    {secret}\n  kept: readable\n"
    ),
    "YAML, list": lambda name, secret: f"{name}s:\n- {json.dumps(secret)}\n- {secret}\nkept: readable\n",
    "YAML, below": lambda name, secret: f"{name}:\n  value: {secret}\nkept: readable\n",
    "JSON": lambda name, secret: json.dumps({name: secret, "kept": "readable"}),
    "JSON, indented": lambda name, secret: json.dumps({"a": {name: [secret, secret]}, "kept": "readable"}, indent=2),
    "JSON, an object": lambda name, secret: json.dumps({name: {"value": {"x": secret}}, "kept": "readable"}),
    "JSON in JSON": lambda name, secret: json.dumps({"applied": json.dumps({name: secret, "kept": "readable"})}),
    "INI": lambda name, secret: f"[vpn]\n{name} = {secret}\nkept = readable\n",
    "TOML": lambda name, secret: f"[proxy]\n{name} = {json.dumps(secret)}\nkept = 'readable'\n",
    "environment": lambda name, secret: f"{name}={secret}\nKEPT=readable\n",
    "shell": lambda name, secret: f"export {name}={shlex.quote(secret)}\nKEPT=readable\n",
    "CRLF": lambda name, secret: f"[vpn]\r\n{name} = {secret}\r\nkept = readable\r\n",
    "CRLF, literal": lambda name, secret: f"{name}: |\r\n  {secret}\r\n  {secret}\r\nkept: readable\r\n",
    "colours": lambda name, secret: f"\x1b[36m{name}\x1b[0m=\x1b[1m{secret}\x1b[0m\nreadable",
    "unseen characters": lambda name, secret: f"{name[:2]}\u200b{name[2:]}\x7f: {secret}\nreadable",
    "URL in a URL": lambda name, secret: f"GET /login?next=%2Fx%3F{name}%3D{secret} readable",
    "connection string": lambda _, secret: f"Server=h;Uid=alice;Pwd={secret}; readable",
    "URL": lambda name, secret: f"GET https://h/x?{name}={secret} kept readable",
    "header": lambda name, secret: f"> X-{name}: {secret}\n> Kept: readable\n",
    "option": lambda name, secret: f"run --{name} {secret} readable",
    "option with =": lambda name, secret: f"run --{name}={secret} readable",
    "Python": lambda name, secret: f"Login({name.replace('-', '_')}={secret!r}, kept='readable')",
    "a pod's environment": lambda name, secret: f"- name: {name}\n  value: {json.dumps(secret)}\n- name: readable\n",
}  # fmt: skip
SHAPED: dict[str, Callable[[str], str]] = {
    "JWT": lambda secret: f"got eyJhbGciOiJSUzI1NiJ9.{_b64(secret).rstrip('=')}.{_b64(secret).rstrip('=')} readable",
    "bearer": lambda secret: f"curl -H 'Authorization: Bearer {secret}' readable",
    "bearer alone": lambda secret: f"sent Bearer {secret} readable",
    "basic": lambda secret: f"authorization: Basic {_b64(secret)}\nreadable",
    "cookie": lambda secret: f"curl -H 'Cookie: a={secret}; b={secret}' readable",
    "certificate": lambda secret: _pem("CERTIFICATE", _b64(secret, 30)) + "readable",
    "key": lambda secret: _pem("EC PRIVATE KEY", _b64(secret, 30)) + "readable",
    "PEM in YAML": lambda secret: yaml.safe_dump({"ca": _pem("CERTIFICATE", _b64(secret, 30)), "kept": "readable"}),
    "PEM in JSON": lambda secret: json.dumps({"ca": _pem("CERTIFICATE", _b64(secret, 30)), "kept": "readable"}),
    "PEM in a log": lambda secret: "".join(
        f"Nov 22 10:00:00 devlink[7]: {line}\n"
        for line in (_pem("RSA PRIVATE KEY", _b64(secret, 30)) + "readable").split("\n")
    ),
    "PEM without its end": lambda secret: "readable " + _pem("PRIVATE KEY", _b64(secret, 30)).partition("-----END")[0],
    "PEM without its beginning": lambda secret: _pem("PRIVATE KEY", _b64(secret, 9)).split("\n", 1)[1] + "readable",
    "the last line of PEM": lambda secret: f"x: {secret}\nx: -----END PRIVATE KEY-----\nreadable",
    "base64 of PEM": lambda secret: f"data: {_b64(_pem('CERTIFICATE', _b64(secret, 9)))} readable",
    "URL's user": lambda secret: f"https_proxy=http://alice:{secret}@proxy:3128/ readable",
    "user before a host": lambda secret: f"via alice:{secret}@proxy:3128 readable",
    "curl": lambda secret: f"curl -u alice:{secret} http://wiki/ readable",
    "netrc": lambda secret: f"machine h login alice password {secret} readable",
    "WireGuard": lambda secret: f"peer: {base64.b64encode((secret * 32).encode()[:32]).decode()} readable",
    "bootstrap token": lambda secret: f"join with abcdef.{(secret * 16)[:16].lower()} readable",
    "OpenShift": lambda secret: f"oc login sha256~{(secret * 43)[:43]} readable",
    "words": lambda secret: f"the token is {(secret * 32)[:32]}7 and readable",
}  # fmt: skip
SECRETS = st.text(PLAIN + "-_./+=!$%^*~", min_size=12, max_size=40).filter(
    lambda text: text[0] in PLAIN and text[-1] in PLAIN
)


@pytest.mark.slow
@pytest.mark.parametrize("carrier", NAMED)
@given(name=st.sampled_from(NAMES), secret=SECRETS)
def test_no_secret_is_left_behind_its_name(carrier: str, name: str, secret: str) -> None:
    carried = NAMED[carrier](name, secret)
    assert secret in carried
    masked = mask(carried)
    assert secret not in masked
    assert not any(piece in masked for piece in _pieces(secret))
    assert "readable" in masked or "readable" not in carried


@pytest.mark.slow
@pytest.mark.parametrize("carrier", SHAPED)
@given(secret=st.text(PLAIN, min_size=12, max_size=40))
def test_no_secret_is_left_that_is_known_by_its_shape(carrier: str, secret: str) -> None:
    carried = SHAPED[carrier](secret)
    masked = mask(carried)
    for form in {secret, _b64(secret).rstrip("="), *_long_words(carried)}:
        assert form not in masked
    assert "readable" in masked
    assert mask(masked) == masked


def _pieces(secret: str) -> list[str]:
    """Its halves: what is masked must be masked to its end."""
    return [secret[: len(secret) // 2], secret[len(secret) // 2 :]]


def _long_words(text: str) -> list[str]:
    return [word.strip("'\",;:{}") for word in text.split() if len(word.strip("'\",;:{}")) > 40]


def test_two_equal_secrets_are_seen_as_equal_and_two_others_are_not() -> None:
    masked = mask("token: canary-one\nx: y\n") + mask('{"token": "canary-one", "password": "canary-two"}')
    one, two, three = (part.partition(">")[0] for part in masked.split("<masked ")[1:])
    assert one == two != three


def test_another_archive_shows_another_mark() -> None:
    assert mask("token: canary-one\n") != Masker(b"another key").mask("token: canary-one\n")


def test_a_certificate_is_told_by_its_fingerprint_however_it_is_wrapped() -> None:
    pem = _pem("CERTIFICATE", _b64("canary-certificate", 20))
    texts = (pem, json.dumps(pem), yaml.safe_dump([pem]))
    assert len({mask(text).partition("<masked certificate ")[2][:12] for text in texts}) == 1


def test_json_stays_json() -> None:
    tree: Any = {"token": "abc", "tokens": ["a", "b"], "credentials": {"x": 1}, "password": 5, "kept": [1, "readable"]}
    for indent in (None, 2):
        masked = json.loads(mask(json.dumps(tree, indent=indent)))
        assert masked["kept"] == tree["kept"]
        assert all(masked[name].startswith("<masked secret ") for name in tree if name != "kept")


ORDINARY = (
    "default via 172.16.0.1 dev eth0 proto dhcp src 172.16.0.100 metric 100",
    "link/ether 52:54:00:12:34:56 brd ff:ff:ff:ff:ff:ff",
    "inet6 fe80::5054:ff:fe12:3456/64 scope link",
    "2026-11-22 10:11:46,123 INFO devlink.agent.server: qa is up",
    "Nov 22 10:00:00 laptop systemd[1]: Started user@1000.service - User Manager for UID 1000.",
    "nameserver 10.0.0.53\nsearch corp.example\n",
    "server=/cluster.local/fd00:5353::53@devlink0",
    "KUBECONFIG=/home/alice/.kube/config\nPWD=/home/alice\nPATH=/usr/bin:/bin\nNO_PROXY=10.0.0.0/8,.svc\n",
    "identity.ca sha256 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "The bearer token is expired.",
    "Basic authentication.",
    "✓ trust        covers 10.20.0.0/16",
    '{"password": null, "token": "", "tokens": []}',
    "web.qa.svc.cluster.local A from 10.254.0.2:53 over UDP in 1.2 ms",
    "https://10.0.0.1:6443/api/v1/namespaces/kube-public/configmaps/devlink-profile",
    "/usr/lib/python3/dist-packages/devlink/agent/supervisor.py",
)


@pytest.mark.parametrize("text", ORDINARY)
def test_what_is_no_secret_can_be_read(text: str) -> None:
    assert mask(text) == text


@pytest.mark.parametrize(
    ("name", "expected"),
    [("clientKeyData", True), ("HTTP_AUTH", True), ("Pwd", True), ("key", False), ("author", False)],
)
def test_what_is_called_like_a_secret(name: str, expected: bool) -> None:
    assert is_secret(name) is expected


STRANGE = (
    "a", ":", "1:", "a.", "-----BEGIN CERTIFICATE-----\n", "token: [", "token={", 'token="a ', 'token\\"', "eyJ", "://",
    "x:y", "MII/", "-", "name: x ", "1-", "login a ", "basic ", "token a b c ", "/home/", "\n", " ",
)  # fmt: skip


@pytest.mark.slow
def test_no_text_however_strange_takes_long() -> None:
    anonymizer = Anonymizer(KEY, ["laptop"])
    for piece in STRANGE:
        text = piece * (20_000 // len(piece))
        began = time.process_time()
        mask(text)
        anonymizer.anonymize(text)
        assert time.process_time() - began < 3, piece  # a tenth of that; what is quadratic takes minutes for a log
