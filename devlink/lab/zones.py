"""The cluster's zones from its services and pods, as the Kubernetes DNS specification 1.1.0 lays them out."""

from dataclasses import dataclass

from devlink.core.names import DomainName, reverse_zones
from devlink.core.prefixes import IPAddress
from devlink.lab.spec import Record, Service, WorldSpec

TTL = 5
"""Seconds, CoreDNS' default for cluster names; also the negative TTL."""
SPECIFICATION = "1.1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneData:
    """One zone with its records; the SOA comes first."""

    origin: DomainName
    records: tuple[Record, ...]

    def __str__(self) -> str:
        """As a zone file."""
        return "".join(f"{record}\n" for record in self.records)


def upstream_zone(spec: WorldSpec) -> ZoneData:
    """The root zone as the ordinary upstream knows it: its own names exist, no others do."""
    return ZoneData(origin=DomainName(()), records=spec.upstream_records)


def cluster_zones(spec: WorldSpec) -> tuple[ZoneData, ...]:
    """The cluster's domain and the reverse zones of its pods and services."""
    cluster = spec.cluster
    forward = [
        _record(f"dns-version.{cluster.domain}", "TXT", f'"{SPECIFICATION}"'),
        *(
            _record(f"{_dashed(address)}.default.pod.{cluster.domain}", _type(address), str(address))
            for pod in cluster.pod_objects
            for address in pod.addresses
        ),
    ]
    reverse = []
    for service in cluster.service_objects:
        forward += _service_records(spec, service)
        reverse += _pointers(spec, service)
    origins = [zone for prefix in (*cluster.pods, *cluster.services) for zone in reverse_zones(prefix)]
    return (
        _zone(cluster.domain, forward, cluster.domain),
        *(
            _zone(origin, [r for r in reverse if DomainName.parse(r.name).is_within(origin)], cluster.domain)
            for origin in origins
        ),
    )


def _zone(origin: DomainName, records: list[Record], domain: DomainName) -> ZoneData:
    soa = _record(str(origin), "SOA", f"ns.dns.{domain}. hostmaster.{domain}. 1 7200 1800 86400 {TTL}")
    return ZoneData(origin=origin, records=(soa, *records))


def _record(name: str, kind: str, data: str) -> Record:
    return Record(name=name + ".", type=kind, data=data, ttl=TTL)


def _type(address: IPAddress) -> str:
    return "A" if address.version == 4 else "AAAA"


def _dashed(address: IPAddress) -> str:
    return str(address).replace(".", "-").replace(":", "-")


def _base(spec: WorldSpec, service: Service) -> str:
    return f"{service.name}.{service.namespace}.svc.{spec.cluster.domain}"


def _service_records(spec: WorldSpec, service: Service) -> list[Record]:
    base = _base(spec, service)
    if service.external_name is not None:
        return [_record(base, "CNAME", f"{service.external_name}.")]
    if service.cluster_ips:
        hosts = [(base, address) for address in service.cluster_ips]
        records = []
    else:
        hosts = _endpoint_names(spec, service)
        records = [_record(base, _type(address), str(address)) for _, address in hosts]
    records += [_record(name, _type(address), str(address)) for name, address in hosts]
    names = dict.fromkeys(name for name, _ in hosts)
    weight = 100 // len(names)
    for port in service.ports:
        owner = f"_{port.name}._{port.protocol}.{base}"
        records += [_record(owner, "SRV", f"0 {weight} {port.port} {name}.") for name in names]
    return records


def _endpoint_names(spec: WorldSpec, service: Service) -> list[tuple[str, IPAddress]]:
    """The name of each endpoint of a headless service (its hostname is the pod's name), with each of its addresses."""
    base = _base(spec, service)
    return [(f"{name}.{base}", address) for name in service.endpoints for address in spec.pod(name).addresses]


def _pointers(spec: WorldSpec, service: Service) -> list[Record]:
    if service.cluster_ips:
        return [_record(a.reverse_pointer, "PTR", f"{_base(spec, service)}.") for a in service.cluster_ips]
    if service.external_name is not None:
        return []
    return [_record(a.reverse_pointer, "PTR", f"{name}.") for name, a in _endpoint_names(spec, service)]
