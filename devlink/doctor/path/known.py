"""Whether the cluster's DNS knows the service that every cluster has: else the profile has the wrong domain."""

from collections.abc import Iterable

from devlink.core.names import DomainName
from devlink.dns.client import Answer
from devlink.errors import VerificationError


def check_known(name: DomainName, answers: Iterable[Answer]) -> None:
    """Raise VerificationError unless one of `answers` has an address for `name`, a service that every cluster has."""
    answers = tuple(answers)
    if not any(answer.rcode == "NOERROR" and answer.addresses for answer in answers):
        said = " and ".join(dict.fromkeys(_NO_ADDRESS.get(answer.rcode, answer.rcode) for answer in answers))
        raise VerificationError(
            f"The cluster's DNS does not know {name}.",
            why=f"It says {said}, and every cluster has this service: the profile's dns.domain is probably wrong "
            "(kubelet's clusterDomain).",
            next_step="Correct dns.domain in the profile; a pod's /etc/resolv.conf shows it behind `search`.",
        )


_NO_ADDRESS = {"NOERROR": "that it has no address (NOERROR)", "NXDOMAIN": "that there is no such name (NXDOMAIN)"}
