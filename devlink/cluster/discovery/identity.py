"""The CA by which a laptop knows the cluster from one that poses as it."""

from devlink.cluster.discovery.cluster import Cluster
from devlink.cluster.discovery.facts import Fact


def find_ca(cluster: Cluster, of_the_connection: str | None) -> Fact[str] | None:
    """The certificates, PEM: what every pod is given, else what the API server itself was checked with."""
    if cluster.ca:
        return Fact(value=cluster.ca, source=cluster.ca_source)
    if of_the_connection:
        return Fact(value=of_the_connection, source="the CA by which the API server was checked")
    return None
