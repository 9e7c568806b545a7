"""`devlink login` and `logout`: a cluster's profile for those who have no kubeconfig."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from devlink.errors import ClusterError, DevlinkError, UsageError, reason

if TYPE_CHECKING:
    from devlink.cluster.logins import Login


@click.command(short_help="Sign in to a cluster without a kubeconfig.")
@click.argument("server")
@click.option("--name", default=None, metavar="N", help="What to call it: `--context N` then means it. Else the host.")
@click.option("--ca-file", default=None, metavar="FILE", help="The cluster's CA certificate, PEM.")
@click.option("--ca-hash", default=None, metavar="sha256:HEX", help="The hash of its public key, as for kubeadm join.")
@click.option("--token-stdin", is_flag=True, help="Read the token from standard input instead of asking for it.")
@click.option(
    "--insecure-storage", is_flag=True, help="Keep the token in a file that only you can read, not in the keyring."
)
def login(
    server: str, name: str | None, ca_file: str | None, ca_hash: str | None, token_stdin: bool, insecure_storage: bool
) -> int:
    """Sign in to the cluster whose API is at SERVER, with a bearer token that is kept in the system's keyring.

    The server is checked by its CA: --ca-file, or --ca-hash as `kubeadm join` has it, else the system's own store.
    """
    import asyncio

    from devlink.cluster import logins

    if ca_file and ca_hash:
        raise UsageError("--ca-file and --ca-hash both say which CA.", next_step="Leave one of them out.")
    url = _url(server)
    ca = _file_text(ca_file) if ca_file else None
    if ca_hash:
        ca = asyncio.run(logins.pinned_ca(url, ca_hash, os.environ))
    wanted = logins.Login(name=name or _host(url), server=url, ca=ca, insecure_storage=insecure_storage)
    token = _token(token_stdin)
    published = asyncio.run(_try(wanted, token))
    logins.keep(wanted, token)
    where = "a file that only you can read" if insecure_storage else "the keyring"
    click.echo(f"Signed in to {url} as login {wanted.name}; the token is in {where}.", err=True)
    click.echo(
        f"Bring its profile up: devlink up --context {wanted.name}"
        if published
        else "It publishes no profile yet that you may read: `devlink profile publish` is for who may.",
        err=True,
    )
    return 0


@click.command()
@click.argument("name", required=False)
def logout(name: str | None) -> int:
    """Forget a login and its token: NAME, or the only one. What is up stays up."""
    from devlink.cluster import logins

    found = logins.named(name)
    if found is None:
        known = ", ".join(each.name for each in logins.every())
        raise UsageError(
            f"There is no login {name}." if name else "Which login?" if known else "There is no login.",
            why=f"Known: {known}." if known else "",
        )
    logins.forget(found)
    click.echo(f"Login {found.name} is forgotten.", err=True)
    return 0


async def _try(wanted: Login, token: str) -> bool:
    """Ask the API once, so that nothing is kept that is of no use. Whether it publishes a profile for us."""
    from devlink.cluster import publishing
    from devlink.cluster.api import Api

    try:
        async with Api(wanted.access(token), environ=os.environ) as api:
            await publishing.fetch(api)
    except ClusterError as error:
        if error.status not in (403, 404):
            if error.status is None and wanted.ca is None and "certificate" in error.why:
                error.next_step = "Give its CA: --ca-file FILE, or --ca-hash sha256:HEX as for kubeadm join."
            raise
        return False
    except DevlinkError as error:
        click.echo(f"! {reason(error)}", err=True)  # what it publishes is broken; the login is good
    return True


def _url(server: str) -> str:
    from urllib.parse import urlsplit

    url = server.rstrip("/") if "://" in server else f"https://{server.rstrip('/')}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "https" and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or parts.username or parts.query:
        raise UsageError(
            f"{server} is no API server.", why="A token goes over https only.", next_step="As in: https://HOST:6443"
        )
    return url


def _host(url: str) -> str:
    from urllib.parse import urlsplit

    return str(urlsplit(url).hostname)


def _file_text(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read.", why=reason(error)) from error


def _token(from_stdin: bool) -> str:
    if not from_stdin and not sys.stdin.isatty():
        raise UsageError("There is no terminal to ask for the token.", next_step="Give it by --token-stdin.")
    token = sys.stdin.readline() if from_stdin else click.prompt("Token", hide_input=True, err=True, default="")
    token = str(token).strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError("That is no bearer token.", why="It is empty, or has characters that no token has.")
    return token
