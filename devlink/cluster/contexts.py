"""Which cluster is meant: a kubeconfig's context, a login, or the cluster in which this process is a pod."""

from collections.abc import Mapping

from devlink.cluster import logins
from devlink.cluster.access import Access
from devlink.cluster.kubeconfig import access_of, in_cluster_access, read
from devlink.errors import UsageError

IN_CLUSTER = "in-cluster"
"""What a pod's own account is called."""


def choose_access(context: str | None, environ: Mapping[str, str]) -> Access:
    """The kubeconfig's context of that name, else the login of that name.

    Without a name: the kubeconfig's current context, else the only login, else the account of the pod that this is.
    Raises UsageError where none of them is there or what is there cannot be used, ClusterError where a login's token
    cannot be had: the keyring is locked, say.
    """
    config = read(environ)  # once: somebody may write it meanwhile
    known = logins.names()
    wanted = _meant(context or config.current, known)
    if wanted in config.contexts:
        return access_of(config, context)
    login = logins.find(wanted) if context or not config.current else None
    if login is not None:
        return logins.access(login)
    if wanted in ("", IN_CLUSTER):
        inside = in_cluster_access(environ)
        if inside is not None:
            return inside
    try:
        return access_of(config, context)
    except UsageError as error:
        if known:
            error.why = f"{error.why} Logins: {', '.join(known)}."
            if not context:
                error.next_step = f"Name a context or a login: --context {known[0]}"
        raise


def name_meant(context: str | None, environ: Mapping[str, str]) -> str:
    """The context or login that is meant, by its name; empty where there is none. Opens no keyring.

    Raises UsageError where a kubeconfig cannot be read.
    """
    return _meant(context or read(environ).current, logins.names())


def _meant(wanted: str, known: tuple[str, ...]) -> str:
    return known[0] if not wanted and len(known) == 1 else wanted


def is_any_meant(environ: Mapping[str, str]) -> bool:
    """Whether there is a kubeconfig, a login or a pod's account. Raises UsageError as they do."""
    return bool(read(environ).files or logins.names() or in_cluster_access(environ))
