"""Who we are to the API, as HTTP headers (client-go's `transport` package)."""

import base64
from collections.abc import Iterator

from devlink.cluster.access import Credentials
from devlink.cluster.answers import SIGN_IN
from devlink.cluster.entries import VIEW
from devlink.errors import UsageError, reason

MAX_TOKEN = 1024 * 1024
"""Octets of a token file that are read."""

_Header = tuple[bytes, bytes]


def authorization(credentials: Credentials) -> list[_Header]:
    """The header of a token or a password, if there is one. Raises UsageError, which repeats none of them."""
    token = current_token(credentials)
    if token:
        if not token.isascii() or not token.isprintable():
            raise UsageError(
                "The token in use is damaged.",
                why="It has characters that no header can carry.",
                next_step=f"{SIGN_IN}; or correct the token in the kubeconfig",
            )
        return [(b"Authorization", f"Bearer {token}".encode())]
    if credentials.username:
        pair = f"{credentials.username}:{credentials.password}".encode()
        return [(b"Authorization", b"Basic " + base64.b64encode(pair))]
    return []


def impersonation(credentials: Credentials) -> Iterator[_Header]:
    """Octets, not text: names may be UTF-8."""
    for header, values in credentials.impersonate.items():
        for value in values:
            yield header.encode(), value.encode()


def current_token(credentials: Credentials) -> str:
    """What the token file holds at this moment, else the token. Raises UsageError where neither can be had."""
    path = credentials.token_file
    if path is None:
        return credentials.token
    try:
        with path.open("rb") as file:
            return file.read(MAX_TOKEN).decode().strip() or credentials.token
    except (OSError, UnicodeDecodeError) as error:
        if not credentials.token:
            raise UsageError(
                f"The token file {path} cannot be read.",
                why=reason(error),
                next_step=f"Look at it (ls -l {path}), or correct tokenFile in the kubeconfig. {VIEW}",
            ) from None
        return credentials.token
