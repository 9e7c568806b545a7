"""How often something is put right before it is left alone."""

from devlink.helper.restraint import BURST, BURST_TIME, Restraint


def times_permitted(restraint: Restraint, every: float, tries: int) -> int:
    """How many of so many tries, one after the other, are permitted."""
    permitted = 0
    for number in range(tries):
        if restraint.permits(number * every):
            restraint.note(number * every)
            permitted += 1
    return permitted


def test_at_the_tenth_time_within_a_minute_it_is_given_up_for_good() -> None:
    restraint = Restraint()
    assert times_permitted(restraint, BURST_TIME / BURST / 2, 3 * BURST) == BURST - 1
    assert restraint.has_given_up
    assert not restraint.permits(1000 * BURST_TIME)


def test_what_happens_now_and_then_is_put_right_for_ever() -> None:
    assert times_permitted(Restraint(), BURST_TIME / (BURST - 1) + 1, 5 * BURST) == 5 * BURST


def test_what_is_wanted_anew_is_counted_from_none() -> None:
    restraint = Restraint()
    times_permitted(restraint, 0.0, BURST)
    restraint.begin_anew()
    assert times_permitted(restraint, 0.0, 3 * BURST) == BURST - 1


def test_it_may_be_forgotten_once_nothing_of_it_counts_and_never_while_it_is_given_up() -> None:
    restraint = Restraint()
    restraint.note(0.0)
    assert [restraint.is_over(now) for now in (BURST_TIME / 2, BURST_TIME)] == [False, True]
    times_permitted(restraint, 0.0, BURST)
    assert not restraint.is_over(1000 * BURST_TIME)
