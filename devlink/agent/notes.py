"""What is to be said of where a session's profile comes from, and of newer ones that wait: findings."""

from devlink.core.findings import Finding, Severity
from devlink.errors import ClusterError, DevlinkError, NotTrustedError, ProfileError, reason


def unasked(error: DevlinkError) -> Finding:
    """What is published cannot be had."""
    status = error.status if isinstance(error, ClusterError) else None
    titles = {
        401: "The cluster does not know who you are",
        403: "The cluster does not let you read its profile",
        404: "The cluster publishes no profile any more",
    }
    return Finding(
        code="DL-PROFILE-CACHED",
        severity=Severity.WARNING,
        title=f"{titles.get(status or 0, 'The cluster could not be asked for its profile')}; "
        "the last one that it gave is used.",
        evidence=reason(error),
        fix=error.next_step,
    )


def renamed(name: str, other: str) -> Finding:
    """The cluster publishes under another name now; trust goes by the name, so this is another profile."""
    return Finding(
        code="DL-PROFILE-RENAMED",
        severity=Severity.WARNING,
        title=f"The cluster publishes its profile under another name now: {other}.",
        evidence=f"{name} stays as it was given last",
        fix=f"devlink up {other} --replace",
    )


def broken(error: ProfileError) -> Finding:
    """What is published cannot be read as a profile."""
    return Finding(
        code="DL-PROFILE-BROKEN",
        severity=Severity.WARNING,
        title="The cluster publishes a broken profile; the last good one is used.",
        evidence="; ".join((reason(error), *error.faults[:3])),
        fix="tell its publisher: devlink profile fetch shows the faults",
    )


def held(name: str, error: DevlinkError, argument: str = "") -> Finding:
    """A newer profile that cannot be gone over to; `argument`: what `devlink trust` takes for it, if not its name."""
    if isinstance(error, NotTrustedError):
        return Finding(
            code="DL-PROFILE-UNTRUSTED",
            severity=Severity.WARNING,
            title="A newer profile waits: it claims more than this machine trusts it with. The last good one is used.",
            evidence=reason(error),
            fix=f"look at it and trust it, then go over to it: devlink trust {argument or name}; devlink up {name}",
        )
    return Finding(
        code="DL-PROFILE-HELD",
        severity=Severity.WARNING,
        title="The newer profile does not work here. The last good one is used.",
        evidence=reason(error),
        fix=error.next_step,
    )


def unproven(context: str, consequence: str) -> Finding:
    """The server was not checked; `consequence`: what is therefore left undone, in a clause."""
    return Finding(
        code="DL-INSECURE",
        severity=Severity.WARNING,
        title="What the cluster says came over a connection that anyone could have answered, and proves nothing.",
        evidence=f"the server of {context} is not checked (insecure-skip-tls-verify, or http://); {consequence}",
        fix="put the cluster's CA into the kubeconfig (certificate-authority-data)",
    )
