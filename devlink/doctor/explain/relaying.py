"""One address of a session that is relayed, followed: redirect, service, endpoint, pod, node, and what comes back."""

from collections.abc import Iterator

from devlink.core import relay_words as words
from devlink.core.diagnosis import Outcome
from devlink.core.findings import Severity
from devlink.core.judging import Reached
from devlink.core.prefixes import IPAddress
from devlink.core.relay import RelayChain
from devlink.core.relay_judging import judge_chain, udp_asked
from devlink.doctor.case import Case
from devlink.doctor.explain.chain import Link
from devlink.doctor.explain.reaching import COMMON, reach
from devlink.errors import DevlinkError

RESET = "connects, and is closed at once"
"""As `reaching.reach` says it: a relay takes a connection before the pod has, so that it proves nothing here."""


async def follow_relayed(
    address: IPAddress, port: int | None, protocol: str, host: str, session: str, case: Case
) -> list[Link]:
    """The links behind the way, up to the first that is broken. Without a port the common ones are asked for."""
    text = "TCP of yours goes to the relay on this laptop; all else is refused"
    if protocol == "udp":
        return [Link(name="redirect", text=text, finding=udp_asked(address, port))]
    links = [Link(name="redirect", text=text)]
    if case.resolve is None:
        return [*links, Link(name="relay", text="not asked: no agent says", is_known=False)]
    try:
        asked, chain = await _resolved(address, port, session, case)
    except (DevlinkError, TimeoutError) as error:
        said = error.what if isinstance(error, DevlinkError) else "it does not answer"
        return [*links, Link(name="relay", text=f"not known: {said}", is_known=False)]
    finding = judge_chain(address, asked, chain)
    if finding is not None and port is None:  # nobody said that one of these must be there
        tried = ", ".join(map(str, COMMON))
        text = f"ports {tried}: {words.why_refused(chain.refused)}. Name one, as in HOST:PORT"
        return [*links, *_places(chain), Link(name="relay", text=text, is_known=False)]
    links += _places(chain)
    if finding is not None:
        return [*links, Link(name="relay", text=f"refuses port {asked}: {_why(chain)}", finding=finding)]
    how = "a plain connection, without a port-forward" if chain.direct else _through(session, case)
    links.append(Link(name="relay", text=how))
    return [*links, _data(address, await reach(address, asked, protocol, host), protocol)]


async def _resolved(address: IPAddress, port: int | None, session: str, case: Case) -> tuple[int, RelayChain]:
    """The port that was asked for, or the first of the common ones that is let in; and where it leads."""
    assert case.resolve is not None
    chain = RelayChain()
    asked = 0
    for asked in (port,) if port is not None else COMMON:
        chain = await case.resolve(session, address, asked)
        if not chain.refused:
            break
    return asked, chain


def _places(chain: RelayChain) -> Iterator[Link]:
    if chain.service:
        port = f", port {chain.service_port}" if chain.service_port else ""
        yield Link(name="service", text=f"{chain.service}{port}")
    if chain.endpoint:
        ready = f"{chain.ready} ready" if chain.ready else "none is ready"
        yield Link(name="endpoint", text=f"{chain.endpoint}: {ready}")
    if chain.direct:
        yield Link(name="direct", text=f"{chain.direct}: the API server itself, without a pod between")
    if (pod := chain.pod) is not None:
        at = f" ({pod.address})" if pod.address is not None else ""
        yield Link(name="pod", text=f"{pod.namespace}/{pod.name}{at}, port {pod.port}")
        yield Link(name="node", text=f"{pod.node or 'not named'}: {words.dialled(pod)}")


def _why(chain: RelayChain) -> str:
    why = words.why_refused(chain.refused)
    return f"{why} ({chain.why})" if chain.why and chain.why != why else why


def _through(session: str, case: Case) -> str:
    """By which API server, as the session tells it."""
    told = next((s.session.get("relay") or {} for s in case.subjects if s.name == session and s.session), {})
    form = words.FORMS.get(str(told.get("form", "")), "")
    return f"through {told.get('server') or 'the API server'}" + (f", {form}" if form else "")


def _data(address: IPAddress, reached: Reached, protocol: str) -> Link:
    """What came back. Of a protocol that is not spoken nothing is known: the relay itself has confirmed all octets."""
    about = str(address)
    if reached.outcome is Outcome.REFUSED or (reached.outcome is Outcome.ANSWERED and reached.detail == RESET):
        chain = RelayChain(refused="port-closed", why="the connection was reset as soon as it was there")
        finding = judge_chain(address, reached.port, chain)
        assert finding is not None
        assert finding.severity is Severity.ERROR
        return Link(name="data", text=f"port {reached.port}: connects, and is reset", about=about, finding=finding)
    if reached.outcome is not Outcome.ANSWERED:
        return Link(name="data", text=str(reached), about=about, is_known=False)
    if not protocol:
        text = f"port {reached.port}: connects. Only the relay has answered yet: its protocol was not spoken"
        return Link(name="data", text=text, about=about, is_known=False)
    return Link(name="data", text=str(reached), about=about)
