"""A filter's instructions as octets: where a jump leads. What the monitor's own passes is tried in a kernel."""

import struct

import pytest

from devlink.kernel.filter import BPF_JEQ_K, BPF_RET_K, Step, assemble, only_what_matters

DROP, PASS = Step(BPF_RET_K, 0, label="drop"), Step(BPF_RET_K, 1, label="pass")


def jumps(program: bytes) -> list[tuple[int, int]]:
    """How many steps each instruction leaves out, where it holds and where not."""
    return [(then, otherwise) for _, then, otherwise, _ in struct.iter_unpack("=HBBI", program)]


def test_a_jump_leads_to_the_step_that_has_its_label_wherever_that_is() -> None:
    question = Step(BPF_JEQ_K, 7, "pass", "drop")
    assert jumps(assemble([question, DROP, PASS]))[0] == (1, 0)
    assert jumps(assemble([question, PASS, DROP]))[0] == (0, 1)
    assert jumps(assemble([question, Step(0), PASS, DROP]))[0] == (1, 2)
    assert jumps(assemble([Step(BPF_JEQ_K, 7, "", "drop"), PASS, DROP]))[0] == (0, 1), "none is the next step"


def test_a_jump_to_nowhere_or_back_is_no_program() -> None:
    with pytest.raises(KeyError):
        assemble([Step(BPF_JEQ_K, 7, "elsewhere"), DROP])
    with pytest.raises(struct.error):
        assemble([DROP, Step(BPF_JEQ_K, 7, "drop"), PASS])


def test_no_jump_of_the_monitors_filter_leads_out_of_it() -> None:
    found = jumps(only_what_matters())
    assert all(place + 1 + max(leap) < len(found) for place, leap in enumerate(found[:-2]))
