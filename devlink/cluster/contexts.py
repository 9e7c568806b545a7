"""Which cluster is meant: a kubeconfig's context, a login, or the cluster in which this process is a pod."""

from collections.abc import Mapping

from devlink.cluster.access import Access
from devlink.cluster.kubeconfig import in_cluster_access, load_access, read


def choose_access(context: str | None, environ: Mapping[str, str]) -> Access:
    """The kubeconfig's context of that name (None: the current one), else the login of that name, else a pod's account.

    Raises UsageError where none of them is there, or what is there cannot be used.
    """
    if not read(environ).files and context is None:
        inside = in_cluster_access(environ)
        if inside is not None:
            return inside
    return load_access(context, environ)
