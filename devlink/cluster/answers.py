"""What the API, or the lack of an answer of it, means to a person: ClusterErrors with what, why and next step."""

import base64
import datetime
import json
import os
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from devlink.cluster.access import Access, Credentials
from devlink.errors import ClusterError, reason

MAX_WORDS = 300
"""Characters of a server's words that an error repeats."""
SIGN_IN = "Sign in again: by your kubeconfig's own way (try: kubectl get --raw /version), or devlink login"
CHECK_CA = (
    "Compare the kubeconfig's certificate-authority with the cluster's own; a proxy that opens TLS has a CA of its own."
)


def refused(access: Access, method: str, path: str, status: int, body: bytes, *, stale: str = "") -> ClusterError:
    """An answer that is not what was asked for, in the words of its Status object (meta/v1) where it has them.

    `stale`: what is known to be over of the credentials (`expired`), for status 401.
    """
    said = _words(body)
    name = access.name
    if status == 401:
        return ClusterError(
            f"The cluster of {name} does not know who you are.",
            why=stale or f"{said} The credentials are missing, wrong or expired.".strip(),
            next_step=SIGN_IN,
            status=status,
        )
    if status == 403:
        return ClusterError(
            f"The cluster of {name} does not allow that.",
            why=said or f"{method} {path} is forbidden.",
            next_step="Ask the cluster's people for this right.",
            status=status,
        )
    if status == 404:
        return ClusterError(
            f"The cluster of {name} has no {path}.", why=said, next_step="See: kubectl api-resources", status=status
        )
    if status == 409:
        return ClusterError(
            f"The cluster of {name} holds something else there.",
            why=said,
            next_step=f"Look at what is there, and at who else writes it: kubectl get --raw {path}",
            status=status,
        )
    if status == 410:
        return ClusterError(
            f"The cluster of {name} has forgotten that edition of {path}.",
            why=said,
            next_step="Try again: it is then read from its beginning.",
            status=status,
        )
    if 300 <= status < 400:
        return ClusterError(
            f"The server of {name} sends us elsewhere, and devlink does not follow with your credentials.",
            why=f"It answers {status}: it is perhaps no Kubernetes API, but a login page.",
            next_step=f"Look at the cluster's server in the kubeconfig: {access.server}",
            status=status,
        )
    if status == 400 and access.server.startswith("http://") and "HTTPS" in said:
        return ClusterError(
            f"The server of {name} is asked in the clear, and speaks TLS.",
            why=said,
            next_step=f"Write https:// before it in the kubeconfig: {access.server.replace('http', 'https', 1)}",
            status=status,
        )
    busy = status in (429, 503)
    return ClusterError(
        f"The API of {name} is too busy, or not ready, to answer {method} {path}: status {status}."
        if busy
        else f"The API of {name} failed to answer {method} {path}: status {status}.",
        why=said,
        next_step="Try again in a moment."
        if busy or status >= 500
        else f"See what it says to kubectl: kubectl get --raw {path}",
        status=status,
    )


def unreachable(access: Access, error: BaseException, limit: float, *, proxy: str = "") -> ClusterError:
    """No answer came, for a reason that stands somewhere in the chain of `error`. `limit`: seconds; `proxy`: a URL."""
    chain = list(causes(error))
    through = f" through the proxy {_without_password(proxy)}" if proxy else ""
    what = f"The API of {access.name} cannot be reached{through}."
    step = "Look at the network and the VPN; is this the server? See: kubectl cluster-info"
    why = f"{access.server}: {_said(chain[-1])[:MAX_WORDS]}"
    if proxy and "407" in why:
        step = "Write your user and password into the proxy's URL, as http://USER:PASSWORD@HOST:PORT: proxy-url in the "
        step += "kubeconfig, or HTTPS_PROXY"
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _distrusted(access, f"{cause.verify_message or cause.reason}")
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLWantReadError):  # that one only waited
            said = cause.reason or str(cause)
            # An alert is the server's word on what we showed (RFC 8446 section 6.2).
            refuses = "ALERT" in said
            does = (
                "refuses our side of TLS"
                if refuses
                else "breaks the TLS handshake off"
                if "EOF" in said
                else "does not speak TLS with us"
            )
            why = f"{access.server} {does}: {said}."
            step = "Look at the kubeconfig's client-certificate: is it expired?" if refuses else step
            break
        if isinstance(cause, socket.gaierror):
            unknown = f"The name of {_without_password(proxy)}" if proxy else f"The name in {access.server}"
            why = f"{unknown} cannot be resolved: {reason(cause)}"
            break
        if isinstance(cause, TimeoutError):
            what = f"The API of {access.name} does not answer{through} within {limit:g} s."
            why = f"{access.server} is silent or slow."
    return ClusterError(what, why=why, next_step=step)


def _said(error: BaseException) -> str:
    """asyncio's words for a connection that failed are Python's, the kernel's are known."""
    if isinstance(error, OSError) and error.errno and str(error.strerror).startswith("Connect call failed"):
        return os.strerror(error.errno)
    return reason(error)


def is_passing(error: ClusterError) -> bool:
    """Whether waiting may help: the network or a server fails. Not so for a refusal, or for another's certificate."""
    if error.status is None:
        return error.__cause__ is not None and not any(
            isinstance(cause, ssl.SSLCertVerificationError) for cause in causes(error)
        )
    return error.status == 429 or error.status >= 500


def expired(credentials: Credentials, now: datetime.datetime) -> str:
    """That the token (a JWT, RFC 7519) or the client certificate is past its own time; empty where it does not say so.

    An API says `Unauthorized` for every reason.
    """
    end = _token_end(credentials.token) if credentials.token else _certificate_end(credentials.certificate)
    if end is None or end > now:
        return ""
    kind = "token" if credentials.token else "client certificate"
    return f"Your {kind} expired at {end:%Y-%m-%d %H:%M} UTC."


def _token_end(token: str) -> datetime.datetime | None:
    """The claim `exp`, unchecked: it only explains a refusal."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return datetime.datetime.fromtimestamp(claims["exp"], datetime.UTC)
    except (LookupError, ValueError, TypeError, OverflowError, OSError, RecursionError):
        return None


def _certificate_end(certificate: str) -> datetime.datetime | None:
    from cryptography import x509

    try:
        loaded = x509.load_pem_x509_certificate(certificate.encode())
    except ValueError:
        return None
    if hasattr(loaded, "not_valid_after_utc"):
        return loaded.not_valid_after_utc
    # cryptography before 42, as Debian 12 has it: the same without a zone
    return loaded.not_valid_after.replace(tzinfo=datetime.UTC)


def _distrusted(access: Access, said: str) -> ClusterError:
    if "ostname mismatch" in said or "IP address mismatch" in said:
        step = "If it is known by another name, set tls-server-name in the kubeconfig."
    elif "expired" in said or "not yet valid" in said:
        step = "Compare this machine's clock (date); else the cluster's people must renew it."
    else:
        step = CHECK_CA
    return ClusterError(
        f"The server of {access.name} is not the one that it must be.",
        why=f"{access.server} shows a certificate that was not accepted: {said.rstrip('.')}.",
        next_step=step,
    )


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and all that led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                yield from causes(each)
        error = error.__cause__ or error.__context__


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _words(body: bytes) -> str:
    """The message of a Status, made fit for a terminal; of anything else its beginning."""
    try:
        tree = json.loads(body)
        text = str(tree.get("message") or "") if isinstance(tree, dict) else ""
    except (ValueError, RecursionError):
        text = body[: 2 * MAX_WORDS].decode("utf-8", "replace")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    text = text if len(text) <= MAX_WORDS else f"{text[: MAX_WORDS - 1]}…"
    return text if not text or text.endswith((".", "!", "…")) else f"{text}."
