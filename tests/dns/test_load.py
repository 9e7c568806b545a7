"""50,000 names under load, while the rules and the upstreams change and the forwarder is killed."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from devlink.core.plan import ForwarderConfig, Upstream, Zone
from tests.dns.asking import ask, forwarding, served_by, verdicts
from tests.dns.forwarder_process import PATIENCE, Forwarder, wait_until
from tests.dns.load import Client, Load, Rules, number
from tests.dns.lying_upstream import LyingUpstream, silent
from tests.dns.messages import name

NAMES = 50_000
CLUSTER, NEW_CLUSTER, FIRST, SECOND = 10, 11, 12, 13
"""The servers by number; the last two are ordinary ones."""


def names() -> Iterator[str]:
    """All names, each some time later again where it may be cached, spread over the zones."""
    suffixes = ("svc.alpha.test", "svc.beta.test", "svc.gamma.test", "example", "www.example")
    for i in range(NAMES):
        yield f"n{i}.{suffixes[i % 5]}"
        if i % 4 == 0 and i >= 1000:
            yield f"N{i - 1000}.{suffixes[(i - 1000) % 5]}"


def rules(zones: dict[str, int], ordinary: int) -> Rules:
    return lambda qname: next((server for suffix, server in zones.items() if qname.endswith(suffix)), ordinary)


class Changes:
    """What happens meanwhile, in a thread of its own, as it is the helper's doing: one thing after the other."""

    def __init__(self, load: Load, steps: list[tuple[int, Callable[[], None]]]) -> None:
        """`steps`: after how many answers, and what."""
        self._load = load
        self._steps = steps
        self._wake = threading.Event()
        self._answered = 0
        self.failed: BaseException | None = None
        self.thread = threading.Thread(target=self._run)

    def tell(self, answered: int) -> None:
        self._answered = answered
        if self._steps and answered >= self._steps[0][0]:
            self._wake.set()

    def _run(self) -> None:
        try:
            while self._steps:
                assert self._wake.wait(60)
                self._wake.clear()
                if self._answered >= self._steps[0][0]:
                    self._steps[0][1]()
                    self._steps.pop(0)
        except BaseException as error:
            self.failed = error


@pytest.mark.slow
def test_no_name_gets_a_wrong_answer_or_none_while_everything_changes() -> None:
    with ExitStack() as stack:
        servers = {each: stack.enter_context(LyingUpstream(number(each), number(each))) for each in range(10, 14)}
        upstreams = {each: (server.upstream(),) for each, server in servers.items()}
        forwarder = Forwarder().start()
        stack.callback(forwarder.close)
        clients = [Client(forwarder.udp_client, False, 24) for _ in range(8)]
        clients += [Client(forwarder.tcp_client, True, 16) for _ in range(2)]
        zones = {"alpha.test": CLUSTER, "gamma.test": CLUSTER}
        load = Load(clients=clients, names=names(), rules=[rules(zones, FIRST)])

        def settings(zones: dict[str, int], ordinary: int) -> ForwarderConfig:
            return configuration(zones, ordinary, upstreams)

        def change(zones: dict[str, int], ordinary: int) -> Callable[[], None]:
            def step() -> None:
                load.rules.append(rules(zones, ordinary))
                forwarder.configure(settings(zones, ordinary))
                load.oldest = len(load.rules) - 1

            return step

        more = {**zones, "beta.test": NEW_CLUSTER}
        fewer = {"alpha.test": CLUSTER, "beta.test": NEW_CLUSTER}

        def kill() -> None:
            assert forwarder.process is not None
            forwarder.process.kill()
            forwarder.process.communicate(timeout=PATIENCE)
            forwarder.hang_up()
            forwarder.start().connect()
            forwarder.configure(settings(more, FIRST), sockets=True)

        forwarder.connect()
        forwarder.configure(settings(zones, FIRST), sockets=True)
        fifth = NAMES // 5
        changes = Changes(load, [
            (fifth, change(more, FIRST)),
            (2 * fifth, kill),
            (3 * fifth, change(more, SECOND)),
            (4 * fifth, change(fewer, SECOND)),
        ])  # fmt: skip
        changes.thread.start()
        load.run(changes.tell)
        changes.thread.join()
        assert changes.failed is None
        assert (load.wrong[:5], load.lost[:5]) == ([], [])
        assert load.answered >= NAMES
        assert len(load.rules) == 4, "all of it happened"
        assert load.retried <= sum(client.window for client in clients), "of those that waited when it was killed"
        assert forwarder.stats()["in_flight"] == 0


def configuration(
    zones: dict[str, int], ordinary: int, upstreams: Mapping[int, tuple[Upstream, ...]]
) -> ForwarderConfig:
    return ForwarderConfig(
        zones=tuple(Zone(suffix=name(suffix), servers=upstreams[server]) for suffix, server in zones.items()),
        upstreams=upstreams[ordinary],
    )


def test_questions_that_wait_while_zones_go_are_asked_nowhere_else() -> None:
    """Their servers never answer; the count of what waits stays true, and the new rules come into force."""
    with ExitStack() as stack:
        dead = [stack.enter_context(LyingUpstream(silent, None)) for _ in range(4)]
        good = stack.enter_context(LyingUpstream())
        zones = [served_by(server, suffix=f"zone{i}.test").zones[0] for i, server in enumerate(dead)]
        forwarder = stack.enter_context(forwarding(ForwarderConfig(zones=tuple(zones), upstreams=(good.upstream(),))))
        asking = [ask(forwarder, f"zone{i}.test") for i in range(4) for _ in range(3)]
        wait_until(lambda: forwarder.stats()["in_flight"] == len(asking))
        stays, *_ = zones
        forwarder.configure(ForwarderConfig(zones=(stays,), upstreams=(good.upstream(),)))
        assert {each.verdict() for each in asking[3:]} == {"REFUSED EDE 18"}
        assert forwarder.stats()["in_flight"] == 3
        forwarder.configure(ForwarderConfig(upstreams=(good.upstream(),)))
        assert {each.verdict() for each in asking[:3]} == {"REFUSED EDE 18"}
        assert verdicts(forwarder, "zone0.test") == {"right"}
        assert forwarder.stats()["in_flight"] == 0
