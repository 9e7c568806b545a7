"""What the API, or the lack of an answer of it, means to a person: ClusterErrors with what, why and next step."""

import json
import socket
import ssl
from collections.abc import Iterator

from devlink.cluster.access import Access
from devlink.errors import ClusterError, reason

MAX_WORDS = 300
"""Characters of a server's words that an error repeats."""


def refused(access: Access, method: str, path: str, status: int, body: bytes) -> ClusterError:
    """An answer that is not what was asked for, in the words of its Status object (meta/v1) where it has them."""
    said = _words(body)
    name = access.name
    if status == 401:
        return ClusterError(
            f"The cluster of {name} does not know who you are.",
            why=f"{said} The credentials are missing, wrong or expired.".strip(),
            next_step="Sign in again: by your kubeconfig's own way (try: kubectl get --raw /version), or devlink login",
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
        return ClusterError(f"The cluster of {name} holds something else there.", why=said, status=status)
    if status == 410:
        return ClusterError(f"The cluster of {name} has forgotten that edition of {path}.", why=said, status=status)
    if 300 <= status < 400:
        return ClusterError(
            f"The server of {name} sends us elsewhere, and devlink does not follow with your credentials.",
            why=f"It answers {status}: it is perhaps no Kubernetes API, but a login page.",
            next_step=f"Look at the cluster's server in the kubeconfig: {access.server}",
            status=status,
        )
    return ClusterError(
        f"The API of {name} failed to answer {method} {path}: status {status}.",
        why=said,
        next_step="Try again in a moment.",
        status=status,
    )


def unreachable(access: Access, error: BaseException, limit: float) -> ClusterError:
    """No answer came, for a reason that stands somewhere in the chain of `error`."""
    chain = list(_chain(error))
    what = f"The API of {access.name} cannot be reached."
    step = "Look at the network and the VPN; is this the server? See: kubectl cluster-info"
    why = f"{access.server}: {reason(chain[-1])[:MAX_WORDS]}"
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            said = f"{cause.verify_message or cause.reason}"
            name_is_wrong = "ostname mismatch" in said or "IP address mismatch" in said
            return ClusterError(
                f"The server of {access.name} is not the one that it must be.",
                why=f"{access.server} shows a certificate that was not accepted: {said.rstrip('.')}.",
                next_step="If it is known by another name, set tls-server-name in the kubeconfig."
                if name_is_wrong
                else "Compare the kubeconfig's certificate-authority with the cluster's own; a proxy that opens TLS "
                "has a CA of its own.",
            )
        if isinstance(cause, ssl.SSLError):
            why, step = f"{access.server} does not speak TLS with us: {cause.reason or cause}.", step
            break
        if isinstance(cause, socket.gaierror):
            why = f"The name in {access.server} cannot be resolved: {reason(cause)}"
            break
        if isinstance(cause, TimeoutError):
            what = f"The API of {access.name} does not answer within {limit:g} s."
            why = f"{access.server} is silent or slow."
    return ClusterError(what, why=why, next_step=step)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                yield from _chain(each)
        error = error.__cause__ or error.__context__


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
