"""`devlink login` and `logout`: for those who have no kubeconfig."""

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

from devlink.cli import offers
from devlink.errors import UsageError, reason

MAX_FILE = 1024 * 1024
"""Octets of a file with CA certificates."""
KEYRING_SLOW = 2.0
"""Seconds after which we say what we wait for."""
_TO_SIGN_IN = "To sign in: devlink login SERVER"


@click.command()
@click.argument("server")
@click.option("--name", metavar="NAME", help="What to call this login; the server's host if left out.")
@click.option("--ca-file", metavar="FILE", shell_complete=offers.files, help="The cluster's CA certificates, PEM.")
@click.option("--ca-hash", metavar="sha256:HEX", help="The hash of its CA's key, as `kubeadm join` takes it.")
@click.option("--token-stdin", is_flag=True, help="Read the token from standard input.")
@click.option("--insecure-storage", is_flag=True, help="Keep the token in a file (0600), not in a keyring.")
def login(
    server: str, name: str | None, ca_file: str | None, ca_hash: str | None, token_stdin: bool, insecure_storage: bool
) -> int:
    """Sign in to the cluster at SERVER with a bearer token, which is asked for without being shown.

    It is kept in the desktop's keyring, and used wherever a kubeconfig's context would be. Without --ca-file or
    --ca-hash the server is checked with what it was checked with before, else with the system's certificates.
    """
    from devlink.cluster import logins, signing_in
    from devlink.cluster.logins import Login, Storage

    if ca_file is not None and ca_hash is not None:
        raise UsageError("--ca-file and --ca-hash both say which CA.", next_step="Leave one of them out.")
    url = logins.parse_server(server)
    called = logins.parse_name(name if name is not None else logins.default_name(url))
    _check_free(called, url)
    ca = _authority(called, url, ca_file, ca_hash)
    token = _token(token_stdin)
    storage = Storage.FILE if insecure_storage else Storage.KEYRING
    made = Login(name=called, server=url, ca=ca, storage=storage)
    user = asyncio.run(signing_in.whoami(logins.access_with(made, token), os.environ))
    with _told_if_slow():
        logins.keep(made, token)
    who = f" as {user}" if user else ""
    place = f"in plain text in {logins.folder()}" if insecure_storage else "in the keyring"
    click.echo(f"Signed in to {called}{who}. The token is kept {place}.", err=True)
    # By its name: a bare `up` means the kubeconfig's current context, where there is one.
    click.echo(f"Bring its profile up: devlink up --context {called}", err=True)
    return 0


@click.command()
@click.argument("name", required=False, shell_complete=offers.logins)
def logout(name: str | None) -> int:
    """Forget a login and its token; NAME may be left out where there is only one."""
    from devlink.cluster import logins

    known = logins.names()
    if name is None and len(known) != 1:
        raise UsageError(
            "Which login is meant?" if known else "There is no login.",
            why=f"Logins: {', '.join(known)}." if known else "",
            next_step="Name one: devlink logout NAME" if known else _TO_SIGN_IN,
        )
    found = logins.find(name if name is not None else known[0])
    if found is None:
        raise UsageError(
            "There is no login of that name.",
            why=f"Logins: {', '.join(known)}." if known else "There is none.",
            next_step="Name one of these: devlink logout NAME" if known else _TO_SIGN_IN,
        )
    with _told_if_slow():
        logins.forget(found)
    click.echo(
        f"Signed out of {found.name}: the token is gone from this machine; the cluster still knows it.", err=True
    )
    return 0


@contextmanager
def _told_if_slow() -> Iterator[None]:
    """A keyring that waits for its password shows that in a window, which may be on another screen."""
    line = "Waiting for the keyring: it may ask for its password in a window."
    timer = threading.Timer(KEYRING_SLOW, click.echo, (line,), {"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _check_free(name: str, server: str) -> None:
    """A name means one cluster."""
    from devlink.cluster import logins
    from devlink.cluster.kubeconfig import read

    before = logins.find(name)
    if before is not None and before.server != server:
        raise UsageError(
            f"The login {name} is one to {before.server}.",
            next_step=f"Choose another name (--name), or first: devlink logout {name}",
        )
    try:
        taken = name in read(os.environ).contexts
    except UsageError:
        return
    if taken:
        raise UsageError(
            f"The kubeconfig has a context {name}, which would go before the login.",
            next_step="Choose another name: --name NAME",
        )


def _authority(name: str, server: str, ca_file: str | None, ca_hash: str | None) -> str:
    """The CA's certificates, PEM; empty for the system's."""
    from devlink.cluster import logins, pins, signing_in

    if ca_hash is not None:
        return asyncio.run(signing_in.pinned_ca(name, server, pins.parse_pin(ca_hash), os.environ))
    if ca_file is None:
        before = logins.find(name)
        return before.ca if before is not None else ""
    try:
        with open(ca_file, encoding="ascii", errors="replace") as file:
            found = "".join(pins.certificates(file.read(MAX_FILE)))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{ca_file} cannot be read.",
            why=reason(error),
            next_step="Give a file with the CA, or --ca-hash sha256:HEX.",
        ) from error
    if not found:
        raise UsageError(
            f"{ca_file} holds no certificate.",
            why="It must be PEM, as in /etc/kubernetes/pki/ca.crt.",
            next_step="Give a file with the CA, or --ca-hash sha256:HEX.",
        )
    return found


def _token(from_stdin: bool) -> str:
    from devlink.cluster.credentials import MAX_TOKEN

    if from_stdin:
        token = sys.stdin.read(MAX_TOKEN + 1).strip()
    elif sys.stdin.isatty():
        token = str(click.prompt("Token", hide_input=True, err=True)).strip()
    else:
        raise UsageError(
            "There is no terminal at which to ask for the token.",
            next_step="Hand it over by standard input: devlink login SERVER --token-stdin <FILE",
        )
    if not token or len(token) > MAX_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            "That is no bearer token." if token else "The token is empty.",
            why="A token is one line without blanks." if token else "",
            next_step="See where it comes from: kubectl create token ACCOUNT makes one.",
        )
    return token
