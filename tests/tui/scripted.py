"""An agent that tells what the test says, over its real socket, and notes what it is asked."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from devlink.errors import DevlinkError
from devlink.rpc.listening import bind_private
from devlink.rpc.server import Server, Session
from devlink.rpc.tasks import spawn
from devlink.rpc.varlink import Call

INTERFACE = "io.devlink.Agent"
Answer = Mapping[str, Any] | DevlinkError | Callable[[Mapping[str, Any]], Mapping[str, Any]]


class ScriptedAgent:
    """Listens on a socket. What it streams is `tell`ed, what it answers is in `answers`."""

    STREAMS = ("Status", "FollowEvents", "FollowPath", "FollowDnsStats", "FollowDnsLog")
    CALLS = (
        "Up", "Down", "Failover", "Inspect", "ListProfiles", "ListRoutes", "FlushDns", "Examine", "Explain", "Stop",
    )  # fmt: skip

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        """The last word of each method that was called, with its parameters."""
        self.answers: dict[str, Answer] = {}
        """By method: the reply, the error, or what makes the reply. A method without any is not answered."""
        self.given_up: list[str] = []
        """Each method without an answer whose caller went away."""
        self.steps: list[tuple[str, bool]] = []
        """What `Up` tells before its answer."""
        self.taken_back: DevlinkError | None = None
        """What `Up` answers to a caller who gives it up."""
        self._told: dict[str, Mapping[str, Any] | None] = dict.fromkeys(self.STREAMS)
        """The last reply of each stream, for who comes later."""
        self._news = {name: asyncio.Condition() for name in self.STREAMS}
        self._count = dict.fromkeys(self.STREAMS, 0)
        self._tasks: list[asyncio.Task[Any]] = []
        self._server: Server | None = None
        self._listener: Any = None

    async def start(self) -> Self:
        """Begin to listen; again after `end`."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._listener = bind_private(self.path)
        handlers = dict.fromkeys(self.STREAMS, self._stream) | dict.fromkeys(self.CALLS, self._call)
        self._server = Server(INTERFACE, handlers)
        self._tasks = [spawn(self._server.serve(self._listener), name="scripted agent")]
        return self

    async def end(self) -> None:
        """Go away, as an agent that dies."""
        for task in self._tasks:
            task.cancel()
        if self._server is not None:
            await self._server.close()
        if self._listener is not None:
            self._listener.close()
        self.path.unlink(missing_ok=True)

    def forget(self) -> None:
        """What was told, as one that is started anew."""
        self._told = dict.fromkeys(self.STREAMS)

    async def tell(self, method: str, reply: Mapping[str, Any]) -> None:
        """To all who follow, and to who comes later."""
        async with self._news[method]:
            self._told[method] = reply
            self._count[method] += 1
            self._news[method].notify_all()

    def asked(self, method: str) -> list[Mapping[str, Any]]:
        """The parameters of each call of a method."""
        return [parameters for name, parameters in self.calls if name == method]

    def is_followed(self) -> bool:
        """Whether all is, as by a dashboard that shows all panels; nothing is about to connect then."""
        return all(map(self.asked, (*self.STREAMS, "ListRoutes")))

    async def _stream(self, caller: Session, call: Call) -> Mapping[str, Any]:
        method = call.method.rpartition(".")[2]
        self.calls.append((method, call.parameters))
        failure = self.answers.get(method)
        if isinstance(failure, DevlinkError):
            raise failure
        seen = 0
        while True:
            async with self._news[method]:
                while self._count[method] <= seen:
                    await self._news[method].wait()
                seen, reply = self._count[method], self._told[method]
            if reply is not None:
                await caller.send(reply)

    async def _call(self, caller: Session, call: Call) -> Mapping[str, Any]:
        method = call.method.rpartition(".")[2]
        self.calls.append((method, call.parameters))
        if method == "Up" and call.more:
            for step, done in self.steps:
                await caller.send({"step": step, "done": done})
        answer = self.answers.get(method)
        if isinstance(answer, DevlinkError):
            raise answer
        if answer is None:
            await self._wait_for_end(method)
        return answer(call.parameters) if callable(answer) else answer or {}

    async def _wait_for_end(self, method: str) -> None:
        """Until nobody waits for the answer any more: the server cancels the call then."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if method == "Up" and self.taken_back is not None:
                raise self.taken_back from None
            raise
        finally:
            self.given_up.append(method)


@asynccontextmanager
async def scripted(path: Path) -> AsyncIterator[ScriptedAgent]:
    """One that listens while the block runs."""
    agent = await ScriptedAgent(path).start()
    try:
        yield agent
    finally:
        await agent.end()


def gateway(address: str = "172.16.0.13", **changes: Any) -> dict[str, Any]:
    """As the agent tells of one that is well and carries the packets."""
    return {
        "address": address, "role": "route-reflector", "state": "healthy", "since": 61.0, "carries": True,
        "by_hand": False, "rtt_ms": 0.84, **changes,
    }  # fmt: skip


def session(name: str = "qa", **changes: Any) -> dict[str, Any]:
    """As the agent tells of one that is up."""
    return {
        "name": name, "state": "up", "since": 61.0, "mode": "gateway", "reason": "172.16.0.13 is on this link",
        "revision": "a1b2c3d4", "context": "qa-cluster", "age": 120, "routes": [], "route_count": 3,
        "gateways": [gateway(), gateway("172.16.0.14", carries=False, rtt_ms=1.2)], "exclude": [], "override": [],
        "zones": ["cluster.local", "20.10.in-addr.arpa"], "search": ["default"], "resolver": "resolved",
        "resolver_reason": "systemd-resolved splits by itself", "findings": [], **changes,
    }  # fmt: skip


def status(*sessions: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A reply to `Status`."""
    from devlink import __version__

    return {
        "status": {
            "version": __version__, "helper": "connected", "helper_version": __version__, "sessions": list(sessions),
            "asking": [], **changes,
        }
    }  # fmt: skip


def finding(code: str = "DL-FAILED-OVER", severity: str = "warning", **changes: Any) -> dict[str, Any]:
    """One of a session's findings."""
    return {
        "code": code, "severity": severity, "title": "Packets go by 172.16.0.14 instead of 172.16.0.13: it was silent.",
        "evidence": "TCP connections to services that were open then are broken.",
        "fix": "to go back: devlink failover 172.16.0.13", **changes,
    }  # fmt: skip


def path(**changes: Any) -> dict[str, Any]:
    """A reply to `FollowPath` where all is well."""
    legs = [
        {"name": "laptop", "about": "eth0 172.16.0.50", "state": "ok", "text": "link is up"},
        {"name": "next hop", "about": "172.16.0.13", "state": "ok", "text": "answers", "rtt_ms": 0.31},
        {"name": "gateway", "about": "172.16.0.13", "state": "ok", "text": "forwards", "rtt_ms": 0.62},
        {"name": "cluster", "about": "10.96.0.10", "state": "ok", "text": "its DNS answers", "rtt_ms": 0.84},
    ]
    return {"legs": legs, "gateways": [gateway(), gateway("172.16.0.14", carries=False, rtt_ms=1.2)], **changes}


def relay(**changes: Any) -> dict[str, Any]:
    """A relay's state, as the agent tells of one that is busy."""
    pods = [("default", "web-1", "node-a", 2), ("qa", "db-0", "node-b", 1), ("kube-system", "coredns-7c", "node-a", 0)]
    return {
        "server": "https://192.0.2.10:6443", "form": "spdy-websocket", "streams": 3, "opened": 120, "sent": 1_200_000,
        "received": 310_000_000,
        "pods": [{"namespace": namespace, "name": name, "node": node, "streams": streams, "sessions": 1}
                 for namespace, name, node, streams in pods],
        "refused": [{"reason": "port-closed", "count": 3, "last": "10.20.0.7:81"}], "findings": [], **changes,
    }  # fmt: skip


def relayed_session(name: str = "qa", **changes: Any) -> dict[str, Any]:
    """One that no route can reach."""
    reason = "172.16.0.13 is behind 192.168.7.1, and the network does not carry the cluster's prefixes"
    return session(name, **{"mode": "relay", "reason": reason, "gateways": [], "relay": relay(), **changes})


def relayed_path(**changes: Any) -> dict[str, Any]:
    """A reply to `FollowPath` where all is well, of what is relayed."""
    legs = [
        {"name": "laptop", "about": "wlan0 192.168.7.50", "state": "ok", "text": "link is up"},
        {"name": "API server", "about": "192.0.2.10:6443", "state": "ok", "text": "takes connections", "rtt_ms": 8.4},
        {"name": "node", "about": "node-a", "state": "ok", "text": "dials the pod"},
        {"name": "pod", "about": "kube-system/coredns-7c", "state": "ok", "text": "its DNS answers", "rtt_ms": 19.2},
    ]
    return {"legs": legs, "gateways": [], **changes}


def dns_stats(queries: int = 100, **changes: Any) -> dict[str, Any]:
    """A reply to `FollowDnsStats`."""
    counts = {
        "in_flight": 0, "queries": queries, "answered": queries // 4, "cached": queries - queries // 4, "stale": 0,
        "prefetched": 0, "coalesced": 0, "local": 0, "refused": 0, "malformed": 0, "timeouts": 0, "servfails": 0,
        "mismatched": 0, "dropped": 0, "overloads": 0, "cache": {"entries": 12, "bytes": 4096, "limit": 8 << 20},
        "zones": [
            {"suffix": "cluster.local", "queries": queries // 2, "cached": queries // 4, "stale": 0, "local": 0,
             "failed": 0, "p50_ms": 0.9, "p99_ms": 4.2},
            {"suffix": ".", "queries": queries // 2, "cached": queries // 4, "stale": 0, "local": 0, "failed": 0,
             "p50_ms": 12.0, "p99_ms": 60.0},
        ],
        "servers": [
            {"server": "10.96.0.10", "zones": ["cluster.local"], "state": "healthy", "asked": queries // 8,
             "answered": queries // 8, "timeouts": 0, "failures": 0, "rtt_ms": 0.9, "p50_ms": 0.9, "p99_ms": 4.2},
            {"server": "192.168.1.1", "zones": ["."], "state": "healthy", "asked": queries // 8,
             "answered": queries // 8, "timeouts": 0, "failures": 0, "rtt_ms": 12.0, "p50_ms": 12.0, "p99_ms": 60.0},
        ],
    }  # fmt: skip
    return {"nameserver": "127.0.0.153", "stats": {**counts, **changes}}


def query(name: str = "web.default.svc.cluster.local", **changes: Any) -> dict[str, Any]:
    """A record of `FollowDnsLog`."""
    return {
        "time": 1_790_000_000.25, "name": name, "qtype": 1, "zone": "cluster.local", "source": "upstream", "rcode": 0,
        "ms": 0.9, "server": "10.96.0.10", **changes,
    }  # fmt: skip


def event(text: str = "qa is up", severity: str = "info", **changes: Any) -> dict[str, Any]:
    """One of `FollowEvents`."""
    return {"time": 1_790_000_000.0, "session": "qa", "severity": severity, "text": text, **changes}


def route(destination: str = "10.20.73.64/26", state: str = "installed", **changes: Any) -> dict[str, Any]:
    """One of `ListRoutes`."""
    return {
        "destination": destination, "next_hop": "172.16.0.13", "oif": "eth0", "owner": "devlink", "state": state,
        **changes,
    }  # fmt: skip


def check(name: str, session: str = "", **changes: Any) -> dict[str, Any]:
    """One look of doctor that found nothing."""
    return {
        "check": name, "session": session, "outcome": "ok", "seen": "answers", "follows": "", "seconds": 0.1,
        "findings": [], **changes,
    }  # fmt: skip


def examined(**changes: Any) -> dict[str, Any]:
    """A reply to `Examine` where something is wrong with each of two profiles."""
    offlink = finding(
        "DL-R1-OFFLINK", "error", title="172.16.0.13 is not on this link.", fix="join its network, then: devlink up qa"
    )
    checks = [
        check("helper"),
        check("routes", "qa", outcome="error", seen="next hop is elsewhere", findings=["DL-R1-OFFLINK"]),
        check("names", "qa", outcome="follows", seen="", follows="routes"),
        check("gateways", "b", outcome="warning", seen="one is silent", findings=["DL-FAILED-OVER"]),
    ]
    profiles = [{"name": "qa", "up": True}, {"name": "b", "up": False}]
    return {"profiles": profiles, "findings": [finding(), offlink], "checks": checks, **changes}


def link(name: str, **changes: Any) -> dict[str, Any]:
    """One link of `Explain` that is well."""
    return {"link": name, "about": "", "outcome": "ok", "seen": f"{name} is well", **changes}


def explained(**changes: Any) -> dict[str, Any]:
    """A reply to `Explain` of a way that is broken at the third link."""
    links = [
        link("name"), link("address", about="10.254.3.7"),
        link("route", outcome="error", seen="goes by wlan0", finding="DL-FAILED-OVER"),
        link("data", outcome="error", seen="no answer"),
    ]  # fmt: skip
    asked = {"text": "web.default", "scheme": "", "host": "web.default"}
    return {"asked": asked, "whole": False, "links": links, "findings": [finding(severity="error")], **changes}
