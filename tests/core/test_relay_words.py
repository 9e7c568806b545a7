"""A relay's state in words."""

from dataclasses import fields

import pytest

from devlink.core import relay_words as words
from devlink.core.codec import decode
from devlink.core.relay import REASONS, Pod, PodUse, Refused, RelayState


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9_949, "9.9 kB"), (9_960, "10 kB"), (999_499, "999 kB"),
        (999_600, "1.0 MB"), (4_200_000, "4.2 MB"), (310_000_000, "310 MB"), (5 * 10**9, "5.0 GB"),
        (10**16, "10000 TB"),
    ],
)  # fmt: skip
def test_octets_are_said_with_a_unit_and_as_few_digits_as_tell_them(count: int, said: str) -> None:
    assert words.octets(count) == said


def test_a_program_finds_every_count_and_list_also_where_it_is_nothing() -> None:
    told = words.tree(RelayState(form="spdy"))
    assert set(told) == {field.name for field in fields(RelayState)}
    assert (told["streams"], told["pods"], told["form"]) == (0, [], "spdy")
    assert decode(RelayState, told) == RelayState(form="spdy")


def test_each_reason_that_a_relay_has_is_said_in_words() -> None:
    assert set(words.WHY) == set(REASONS)
    assert set(words.OPT_IN) < set(REASONS)
    assert words.why_refused("of-tomorrow") == "of-tomorrow"


def test_what_is_open_is_told_beside_all_that_there_was() -> None:
    state = RelayState(streams=3, opened=120, sent=4_200_000, received=12)
    assert words.traffic(state) == "3 streams open of 120, 4.2 MB sent, 12 B received"
    assert words.traffic(RelayState(streams=1, opened=1)).startswith("1 stream open, ")
    assert words.traffic(RelayState(opened=2)).startswith("no streams open of 2, ")


def test_the_pod_with_the_most_streams_comes_first_and_one_without_any_is_kept_warm() -> None:
    idle, busy = (
        PodUse(namespace="default", name="web-1", node="", streams=0, sessions=1),
        PodUse(namespace="qa", name="db-0", node="node-a", streams=12, sessions=2),
    )
    assert words.busiest((idle, busy)) == [busy, idle]
    assert words.pod_in_use(busy) == "qa/db-0 on node-a: 12 streams in 2 sessions"
    assert words.pod_in_use(idle) == "default/web-1: kept warm"


def test_a_refusal_says_how_often_why_and_whom_it_was_about_last() -> None:
    assert words.refusal(Refused(reason="no-pods", count=1)) == "once: the service has no pod that is ready"
    said = words.refusal(Refused(reason="port-closed", count=3, last="10.20.0.7:81"))
    assert said == "3 times: nobody listens on that port in the pod; last 10.20.0.7:81"


def test_that_a_loopback_is_dialled_is_said_and_whose_it_is() -> None:
    pod = Pod(namespace="default", name="web-1", port=8080)
    assert "127.0.0.1:8080 in the pod" in words.dialled(pod)
    assert "NetworkPolicy" in words.dialled(pod)
    host = Pod(namespace="kube-system", name="proxy", port=10249, host_network=True)
    assert "the node's own loopback" in words.dialled(host)
