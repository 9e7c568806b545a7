"""Which resolver mode is chosen, what becomes of one that does not prove itself, and how it is kept."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from devlink.core.names import DomainName
from devlink.core.plan import ProofRecord
from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError, VerificationError
from devlink.helper.journal import Journal
from devlink.helper.resolver import AT_REST, Candidate, InForce, Resolver, none_proved
from devlink.helper.restraint import BURST, BURST_TIME
from devlink.resolvers.facts import Facts
from devlink.resolvers.files.client import FilesClient
from devlink.resolvers.mode import Telling, Tools
from tests.helper.fakes import Edges, FileMode, LinkMode

TELLING = Telling(domains=(DomainName.parse("cluster.local"),), families=frozenset({4}))
LESS = replace(TELLING, domains=())
PROOF = ProofRecord(name=DomainName.parse("proof.cluster.local"), address=ip_address("192.0.2.7"))


class World(Edges):
    """A machine with both modes, on which libc finds a name where the modes that the test names are told of it."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(patch, FileMode, LinkMode)
        self.journal = Journal(folder / "journal.json")
        self.now = 1000.0
        self.proved: list[str] = []
        patch.setattr("devlink.helper.resolver.time.monotonic", lambda: self.now)
        self.restart()

    def restart(self) -> None:
        """Another helper."""
        files = FilesClient(lambda: pytest.fail("no mode of this test writes a file"))
        tools = Tools(nameserver=ip_address("127.0.0.231"), files=files)
        self.log.clear()
        self.resolver = Resolver(tools, self.journal)
        modes: dict[str, Any] = self.resolver._modes
        self.file: FileMode = modes["file"]
        self.link: LinkMode = modes["link"]
        self.link.services = self.file.services = ("dns",)

    def prove(self, name: DomainName, address: IPAddress, timeout: float, *, service: str = "") -> None:
        self.proved.append(service)

    def tell(self, name: str = "link", telling: Telling = TELLING) -> Candidate:
        candidate = next(each for each in self.resolver.candidates() if each.mode.name == name)
        self.resolver.tell(self.by(candidate, telling), PROOF)
        return candidate

    @staticmethod
    def by(candidate: Candidate, telling: Telling = TELLING) -> InForce:
        places = candidate.mode.prepare(telling)
        return InForce(candidate=candidate, telling=telling, places=places)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def names(candidates: list[Candidate]) -> list[str]:
    return [candidate.mode.name for candidate in candidates]


# Choosing


def test_the_modes_that_fit_are_tried_in_the_order_of_their_rank(world: World) -> None:
    assert names(world.resolver.candidates()) == ["link", "file"]
    world.facts = Facts(hosts=("files", "dns"))
    assert names(world.resolver.candidates()) == ["file"]


def test_where_the_one_in_force_cannot_say_whom_the_system_asks_the_next_one_does(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NetworkManager has ended, and its mode is still the one in force."""

    def read_ways(_: object) -> tuple[IPAddress, ...]:
        raise HelperError("It does not run.")

    world.tell()
    monkeypatch.setattr(LinkMode, "read_ways", read_ways)
    monkeypatch.setattr(FileMode, "read_ways", lambda _: (ip_address("192.0.2.1"),))
    assert world.resolver.ways() == (ip_address("192.0.2.1"),)
    world.resolver.withdraw()
    with pytest.raises(HelperError, match="does not run"):
        world.resolver.ways()


def test_where_the_one_in_force_is_the_only_one_that_fits_its_own_error_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_ways(_: object) -> tuple[IPAddress, ...]:
        raise HelperError("The file cannot be read.")

    world.facts = Facts(hosts=("files", "dns"))
    world.tell("file")
    monkeypatch.setattr(FileMode, "read_ways", read_ways)
    with pytest.raises(HelperError, match="cannot be read"):
        world.resolver.ways()


def test_the_one_in_force_comes_first_and_the_others_stay_in_reach(world: World) -> None:
    world.tell("file")
    assert names(world.resolver.candidates()) == ["file", "link"]


def test_every_way_to_it_is_proved(world: World) -> None:
    world.tell()
    assert world.proved == ["", "dns"]


def test_the_mode_and_its_reason_are_told(world: World) -> None:
    assert world.resolver.state() == ("", "")
    world.tell()
    assert world.resolver.state() == ("link", "libc asks it")


def test_the_mode_can_be_asked_for_while_another_thread_takes_it_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`devlink status` during `down`; the look at the bus takes its time."""

    def is_ours() -> bool:
        world.resolver.withdraw()
        return True

    world.tell()
    monkeypatch.setattr(world.link, "is_ours", is_ours)
    assert world.resolver.state() == ("link", "libc asks it")
    assert world.resolver.state() == ("", "")


def test_where_no_mode_proves_itself_the_first_ones_error_says_what_the_others_said(world: World) -> None:
    first, second = world.resolver.candidates()
    error = none_proved(
        [
            (first, VerificationError("Names do not arrive.", why="libc found nothing.")),
            (second, HelperError("Refused.")),
        ]
    )
    assert error.what == "Names do not arrive."
    assert error.why == "libc found nothing. Tried next, file: Refused."


def test_the_reason_tells_what_became_of_the_mode_before(world: World) -> None:
    first, second = world.resolver.candidates()
    second = second.after((first, VerificationError("Names do not arrive.")))
    assert second.reason == "nothing else fits; link did not serve: Names do not arrive."


# The journal


def test_the_journal_names_the_mode_before_it_is_applied(world: World) -> None:
    world.link.refusal = HelperError("Refused.")
    with pytest.raises(HelperError, match="Refused"):
        world.tell()
    entry = world.journal.read()
    assert entry is not None
    assert entry.resolver == "link"


def test_without_a_journal_nothing_is_changed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(world.journal, "write", write)
    with pytest.raises(HelperError, match="nothing was changed"):
        world.tell()
    assert world.link.did == []


def test_a_mode_that_holds_is_not_applied_again(world: World) -> None:
    world.tell()
    world.tell()
    assert world.link.did == ["apply"]
    world.tell(telling=LESS)
    assert world.link.did == ["apply", "apply"], "the domains are others"


# Taking back


def test_what_is_taken_back_leaves_no_journal_and_no_mode_in_force(world: World) -> None:
    world.tell()
    world.resolver.withdraw()
    assert world.link.did == ["apply", "restore"]
    assert not world.journal.is_there
    assert world.resolver.state() == ("", "")
    assert world.resolver.watched() == AT_REST, "what was ours may be put back by others"


def test_a_journal_of_an_earlier_helper_has_its_mode_taken_back_alone(world: World) -> None:
    world.tell()
    world.restart()
    world.resolver.withdraw()
    assert world.link.did == ["restore"]
    assert world.file.did == []


def test_remains_are_taken_back_though_no_journal_tells_of_them(world: World) -> None:
    world.file.is_left = True
    assert world.resolver.has_remains()
    world.resolver.withdraw()
    assert world.file.did == ["restore"]
    assert not world.resolver.has_remains()


def test_one_mode_that_resists_keeps_no_other_from_being_taken_back_and_stays_in_the_journal(world: World) -> None:
    world.tell("link")
    world.file.is_left, world.file.resistance = True, HelperError("The disk is read-only.")
    with pytest.raises(HelperError, match="read-only"):
        world.resolver.withdraw()
    assert world.link.told is None
    assert world.journal.is_there
    world.file.resistance = None
    world.resolver.withdraw()
    assert not world.journal.is_there


def test_what_was_taken_back_is_not_told_again_though_another_mode_resisted(world: World) -> None:
    world.tell("link")
    world.file.is_left, world.file.resistance = True, HelperError("The disk is read-only.")
    with pytest.raises(HelperError, match="read-only"):
        world.resolver.withdraw()
    assert world.resolver.keep(PROOF) is False
    assert world.link.did == ["apply", "restore"]


@pytest.mark.parametrize("by", ["this helper", "an earlier one"])
def test_the_mode_in_force_is_taken_back_before_the_others(world: World, by: str) -> None:
    """What direct finds of our link in another's file is gone by itself once that one is restored."""
    world.tell("link")
    if by == "an earlier one":
        world.restart()
    world.file.is_left = True
    world.log.clear()
    world.resolver.withdraw()
    assert world.log == ["restore link", "restore file"]


def test_what_could_not_be_taken_back_is_still_told(world: World) -> None:
    world.tell("file")
    told = world.file.told
    world.restart()
    world.file.told = told
    world.file.is_left = True
    assert world.resolver.state() == ("file", "it could not be taken back yet")
    assert world.resolver.one_that_is_left() is world.file
    world.file.told = None
    assert world.resolver.state()[0] == "overwritten"


def test_a_mode_that_splits_is_not_one_that_sends_every_name_to_us(world: World) -> None:
    world.tell("link")
    world.link.is_left = True
    assert world.resolver.one_that_is_left() is None


# Keeping


def test_what_another_program_wrote_over_is_told_again(world: World) -> None:
    assert world.resolver.keep(PROOF) is False, "nothing is in force"
    world.tell()
    assert world.resolver.keep(PROOF) is False
    assert world.link.did == ["apply"]
    world.link.forget()
    assert world.resolver.keep(PROOF) is False
    assert world.link.told == TELLING


def test_at_the_tenth_time_in_a_burst_it_is_left_alone_until_somebody_brings_it_up_again(world: World) -> None:
    world.tell()
    for _ in range(BURST + 5):
        world.link.forget()
        world.resolver.keep(PROOF)
        world.now += BURST_TIME / BURST / 2
    assert world.link.did.count("apply") == 1 + BURST - 1
    state, reason = world.resolver.state()
    assert state == "overwritten"
    assert f"{BURST} times" in reason
    world.tell()
    assert world.resolver.state() == ("link", "libc asks it")
    world.link.forget()
    world.resolver.keep(PROOF)
    assert world.link.told == TELLING, "the count begins anew"


def test_what_is_told_again_by_itself_begins_no_new_count(world: World) -> None:
    candidate = world.tell()
    for _ in range(BURST - 1):
        world.link.forget()
        world.resolver.keep(PROOF)
    world.resolver.tell(world.by(candidate), PROOF, by_itself=True)
    world.link.forget()
    world.resolver.keep(PROOF)
    assert world.resolver.state()[0] == "overwritten"


def test_another_mode_than_the_one_that_was_given_up_is_kept(world: World) -> None:
    world.tell("link")
    for _ in range(BURST):
        world.link.forget()
        world.resolver.keep(PROOF)
    world.resolver.withdraw()
    candidate = next(each for each in world.resolver.candidates() if each.mode is world.file)
    world.resolver.tell(world.by(candidate), PROOF, by_itself=True)
    world.file.forget()
    world.resolver.keep(PROOF)
    assert world.file.told == TELLING


def test_who_writes_at_once_each_time_is_left_alone_as_well(world: World) -> None:
    world.tell()
    world.link.forget()
    world.link.refusal = HelperError("Another program wrote it again at once.")
    tries = [world.resolver.keep(PROOF) for _ in range(BURST)]
    assert tries == [True] * (BURST - 1) + [False]
    assert f"{BURST} times" in world.resolver.state()[1]


def test_who_writes_now_and_then_is_written_over_for_ever(world: World) -> None:
    world.tell()
    for _ in range(3 * BURST):
        world.link.forget()
        world.resolver.keep(PROOF)
        assert world.link.told == TELLING
        world.now += BURST_TIME / (BURST - 1) + 1


def test_what_cannot_be_looked_at_is_neither_told_again_nor_called_another_programs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bus is away: what was told goes on without it, and the proof says whether it does."""

    def is_ours(_: object) -> bool:
        raise HelperError("There is no bus.")

    world.tell()
    monkeypatch.setattr(LinkMode, "is_ours", is_ours)
    assert world.resolver.keep(PROOF) is False
    assert world.resolver.state() == ("link", "libc asks it")
    world.proved.clear()
    world.tell()
    assert world.link.did == ["apply"]
    assert world.proved == ["", "dns"]


def test_what_could_not_be_told_again_is_tried_again(world: World) -> None:
    world.tell()
    world.link.forget()
    world.link.refusal = HelperError("It does not answer.")
    assert world.resolver.keep(PROOF) is True
    world.link.refusal = None
    assert world.resolver.keep(PROOF) is False
    assert world.link.told == TELLING


def test_where_the_forwarder_is_to_listen_is_known_though_the_telling_fails(world: World) -> None:
    """The link was made anew, and sockets on the old one are dead."""
    world.tell()
    world.link.forget()
    world.link.link, world.link.refusal = 2, HelperError("It does not answer.")
    assert world.resolver.keep(PROOF) is True
    assert world.resolver.in_force is not None
    assert world.resolver.in_force.places[1].index == 2


def test_a_session_that_goes_takes_its_domains_along(world: World) -> None:
    world.tell()
    world.resolver.tell_less(LESS)
    assert world.link.told == LESS
    world.resolver.tell_less(LESS)
    assert world.link.did == ["apply", "apply"]


def test_what_was_refused_once_and_then_taken_is_not_told_a_third_time(world: World) -> None:
    world.tell(telling=replace(TELLING, domains=(*TELLING.domains, DomainName.parse("other.local"))))
    world.link.refusal = HelperError("The bus is away.")
    with pytest.raises(HelperError, match="away"):
        world.resolver.tell_less(TELLING)
    world.link.refusal = None
    world.resolver.tell_less(LESS)
    world.tell(telling=LESS)
    assert world.link.did == ["apply"] * 3


def test_what_was_refused_is_told_again_without_the_session_that_went(world: World) -> None:
    world.tell()
    world.link.refusal = HelperError("The bus is away.")
    with pytest.raises(HelperError, match="away"):
        world.resolver.tell_less(LESS)
    world.link.refusal = None
    world.resolver.keep(PROOF)
    assert world.link.told == LESS


def test_where_all_names_come_to_us_a_domain_less_is_nothing_to_tell(world: World) -> None:
    world.tell("file")
    world.resolver.tell_less(LESS)
    assert world.file.did == ["apply"]


def test_what_was_left_alone_is_not_told_of_a_session_that_goes(world: World) -> None:
    world.tell()
    for _ in range(BURST):
        world.link.forget()
        world.resolver.keep(PROOF)
    did = list(world.link.did)
    world.resolver.tell_less(LESS)
    assert world.link.did == did
    assert "left alone" in world.resolver.state()[1]
    world.link.told = TELLING  # the other program has gone, and so has what it wrote
    world.tell(telling=LESS)
    assert world.link.told == LESS
