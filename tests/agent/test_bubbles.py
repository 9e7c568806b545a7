"""What a desktop is told of sessions, and when."""

import pytest

from devlink.agent.bubbles import SETTLE, Bubble, Bubbles
from devlink.agent.events import Sight, View
from devlink.core.findings import Finding, Severity

SILENT = Finding(
    code="DL-GATEWAYS-SILENT", severity=Severity.ERROR, title="No gateway answers.", fix="See: devlink doctor"
)
OLD = Finding(code="DL-OLD-COPY", severity=Severity.WARNING, title="The copy is old.")


def view(**states: str) -> View:
    """All sessions by name, those in trouble with a reason."""
    return View(
        sessions={
            name: Sight(state=state, findings=() if state == "up" else (OLD, SILENT)) for name, state in states.items()
        }
    )


class Desktop:
    """Sees what happens at which second, and keeps what it was told, with the second of it."""

    def __init__(self) -> None:
        self.bubbles = Bubbles()
        self.told: list[tuple[float, Bubble]] = []

    def see(self, now: float, seen: View) -> None:
        while (due := self.bubbles.due) is not None and due <= now:
            self.told += [(due, each) for each in self.bubbles.take(due)]
        self.bubbles.look(seen, now)

    @property
    def summaries(self) -> list[str]:
        return [bubble.summary for _, bubble in self.told]


@pytest.fixture
def desktop() -> Desktop:
    """Of a user who has brought qa up."""
    desktop = Desktop()
    desktop.see(0, view(qa="connecting"))
    desktop.see(1, view(qa="up"))
    return desktop


def test_a_session_that_degrades_and_is_back_is_told_twice_with_what_to_do(desktop: Desktop) -> None:
    desktop.see(100, view(qa="degraded"))
    desktop.see(200, view(qa="up"))
    desktop.see(300, view(qa="up"))
    assert desktop.told == [
        (100 + SETTLE, Bubble("qa", "qa is degraded", "No gateway answers.\nSee: devlink doctor", True)),
        (200 + 2 * SETTLE, Bubble("qa", "qa is back", "Its pods and services can be reached again.", False)),
    ]


def test_a_blink_is_not_told(desktop: Desktop) -> None:
    desktop.see(100, view(qa="degraded"))
    desktop.see(100 + SETTLE * 0.9, view(qa="up"))
    desktop.see(1000, view(qa="up"))
    assert desktop.told == []
    assert desktop.bubbles.due is None, "and nothing is waited for"


def test_a_wifi_that_comes_and_goes_all_day_is_told_of_ever_more_rarely(desktop: Desktop) -> None:
    for now in range(10, 3600, 20):
        desktop.see(now, view(qa="degraded"))
        desktop.see(now + 10, view(qa="up"))
    assert 1 <= len(desktop.told) <= 6, desktop.summaries
    desktop.see(3700, view(qa="degraded"))
    desktop.see(4000, view(qa="degraded"))
    assert desktop.summaries[-1] == "qa is degraded", "what lasts is told all the same"


def test_what_its_user_does_is_not_told(desktop: Desktop) -> None:
    desktop.see(100, view(qa="up", stage="connecting"))
    desktop.see(110, view(qa="up", stage="degraded"))
    desktop.see(200, view(stage="degraded"))
    desktop.see(300, view())
    desktop.see(400, view(qa="connecting"))
    desktop.see(410, view(qa="up"))
    desktop.see(900, view(qa="up"))
    assert desktop.told == []


def test_one_that_is_taken_down_before_it_is_told_of_is_not_told_of(desktop: Desktop) -> None:
    desktop.see(100, view(qa="degraded"))
    desktop.see(101, view())
    desktop.see(900, view())
    assert desktop.told == []


def test_on_its_way_back_it_is_still_what_it_was(desktop: Desktop) -> None:
    desktop.see(100, view(qa="suspended"))
    desktop.see(103, view(qa="connecting"))
    desktop.see(104, view(qa="suspended"))
    desktop.see(200, view(qa="connecting"))
    desktop.see(300, view(qa="up"))
    desktop.see(400, view(qa="up"))
    assert desktop.summaries == ["qa is suspended", "qa is back"]
    assert desktop.told[0][0] == 100 + SETTLE


def test_an_error_that_leaves_it_up_is_told_and_a_warning_is_not(desktop: Desktop) -> None:
    desktop.see(100, View(sessions={"qa": Sight(state="up", findings=(OLD,))}))
    desktop.see(200, View(sessions={"qa": Sight(state="up", findings=(OLD, SILENT))}))
    desktop.see(300, View(sessions={"qa": Sight(state="up", findings=(OLD,))}))
    desktop.see(400, View(sessions={"qa": Sight(state="up")}))
    assert desktop.summaries == ["qa is up, and something is wrong", "qa is back"]


def test_each_session_is_told_of_by_itself(desktop: Desktop) -> None:
    desktop.see(50, view(qa="up", stage="up"))
    desktop.see(100, view(qa="degraded", stage="suspended"))
    desktop.see(200, view(qa="degraded", stage="up"))
    desktop.see(300, view(qa="degraded", stage="up"))
    assert sorted(desktop.summaries) == ["qa is degraded", "stage is back", "stage is suspended"]


def test_what_others_wrote_cannot_draw_on_the_desktop(desktop: Desktop) -> None:
    evil = Finding(code="DL-X", severity=Severity.ERROR, title="a\x1b[2J\nb", fix="c\u202ed")
    desktop.see(100, View(sessions={"qa": Sight(state="degraded", findings=(evil,))}))
    desktop.see(200, view(qa="degraded"))
    # what is told is how it was when it was told, and the last look before that was the evil one
    assert desktop.told[0][1].body == "a?[2J?b\nc?d"
