"""The worlds work by hand-made routes and unmodified programs: proof of the lab before devlink is put into it."""

import signal
import subprocess
from collections.abc import Iterator

import pytest

from devlink import lab
from devlink.lab import World
from tests.lab.by_hand import curl, route_per_node, via

pytestmark = pytest.mark.lab
TIMED_OUT = "curl: (28)"


@pytest.fixture(scope="module")
def untouched() -> Iterator[World]:
    """Network A, for tests that only look."""
    with World.start(lab.network_a()) as world:
        yield world


def test_without_routes_the_cluster_is_out_of_reach_and_ordinary_names_work(untouched: World) -> None:
    spec = untouched.spec
    assert curl(untouched, f"http://{spec.pod('web-0').address}:8080/").startswith("curl: (7)")
    assert untouched.run(lab.LAPTOP, ["getent", "hosts", spec.service_name("web")]).returncode == 2
    assert curl(untouched, f"http://{lab.ORDINARY_NAME}/") == lab.UPSTREAM


def test_per_node_routes_reach_pods_and_services_on_both_nodes(node_lan: World) -> None:
    route_per_node(node_lan)
    spec = node_lan.spec
    assert curl(node_lan, f"http://{spec.pod('web-0').address}:8080/") == "web-0"
    assert curl(node_lan, f"http://{spec.pod('api-0').address}:8080/") == "api-0"
    assert curl(node_lan, f"http://{spec.service('web').address}/") == "web-0"
    assert curl(node_lan, f"http://{spec.service('api', 'qa').address}/") == "api-0"


def test_a_wrong_port_of_a_service_is_refused(node_lan: World) -> None:
    route_per_node(node_lan)
    assert curl(node_lan, f"http://{node_lan.spec.service('web').address}:81/").startswith("curl: (7)")


def test_both_families_carry_traffic() -> None:
    with World.start(lab.network_a(ipv6=True)) as world:
        route_per_node(world)
        spec = world.spec
        for address in spec.pod("api-0").addresses:
            assert (
                curl(world, f"http://[{address}]:8080/" if address.version == 6 else f"http://{address}:8080/")
                == "api-0"
            )
        for address in spec.service("api", "qa").cluster_ips:
            assert curl(world, f"http://[{address}]/" if address.version == 6 else f"http://{address}/") == "api-0"


def test_the_invalid_drop_hangs_what_goes_to_a_remote_pod_by_the_gateway() -> None:
    """R2: the connection opens, and no data comes."""
    with World.start(lab.network_a(drop_invalid=True)) as world:
        spec = world.spec
        for prefix in (*spec.cluster.pods, *spec.cluster.services):
            via(world, prefix, spec.gateway.address)
        report = "%{time_connect} %{size_download}"
        remote = world.run(
            lab.LAPTOP,
            ["curl", "-s", "--max-time", "1", "-o", "/dev/null", "-w", report, f"http://{spec.pod('api-0').address}:8080/big"],
        )  # fmt: skip
        connected, received = remote.stdout.split()
        assert (remote.returncode, float(connected) > 0, int(received)) == (28, True, 0)
        assert curl(world, f"http://{spec.pod('web-0').address}:8080/") == "web-0"
        assert curl(world, f"http://{spec.service('api', 'qa').address}/") == "api-0"


def test_without_the_invalid_drop_the_same_way_works() -> None:
    with World.start(lab.network_a(drop_invalid=False)) as world:
        via(world, world.spec.cluster.pods[0], world.spec.gateway.address)
        assert curl(world, f"http://{world.spec.pod('api-0').address}:8080/") == "api-0"


def test_without_snat_only_services_with_a_remote_endpoint_time_out() -> None:
    """R3."""
    with World.start(lab.network_a(snat_services=False)) as world:
        via(world, world.spec.cluster.services[0], world.spec.gateway.address)
        assert curl(world, f"http://{world.spec.service('web').address}/") == "web-0"
        assert curl(world, f"http://{world.spec.service('api', 'qa').address}/", "--max-time", "1").startswith(
            TIMED_OUT
        )


def test_behind_the_router_a_node_is_no_legal_next_hop_and_the_router_carries_the_way() -> None:
    """R1, and why devlink then installs nothing."""
    with World.start(lab.network_a(laptop=lab.LaptopPlace.BEHIND_ROUTER)) as world:
        spec = world.spec
        with pytest.raises(subprocess.CalledProcessError) as refused:
            via(world, spec.cluster.pods[0], spec.gateway.address)
        assert "Nexthop has invalid gateway" in refused.value.stderr
        assert curl(world, f"http://{spec.pod('api-0').address}:8080/") == "api-0"
        assert curl(world, f"http://{spec.service('api', 'qa').address}/") == "api-0"


def test_behind_a_router_that_does_not_carry_the_cluster_it_is_out_of_reach() -> None:
    with World.start(lab.network_a(laptop=lab.LaptopPlace.BEHIND_ROUTER, router_carries=False)) as world:
        assert curl(world, f"http://{world.spec.pod('web-0').address}:8080/").startswith("curl: (")


def test_network_c_passes_tcp_and_loses_udp_to_the_cluster() -> None:
    with World.start(lab.network_c()) as world:
        spec = world.spec
        assert curl(world, f"http://{spec.pod('web-0').address}:8080/") == "web-0"
        assert curl(world, f"http://{spec.pod('api-0').address}:8080/") == "api-0"
        assert curl(world, f"http://{spec.service('api', 'qa').address}/") == "api-0"
        ask = ["dig", "+short", "+tries=1", "+timeout=1", f"@{spec.cluster_dns.address}", spec.service_name("web")]
        assert world.run(lab.LAPTOP, [*ask, "+notcp"]).returncode == 9
        assert world.run(lab.LAPTOP, [*ask, "+tcp"]).stdout.strip() == str(spec.service("web").address)
        assert curl(world, f"http://{lab.ORDINARY_NAME}/") == lab.UPSTREAM


def test_flannel_hides_the_laptop_only_from_pods_on_another_node_than_the_one_it_came_by() -> None:
    with World.start(lab.network_c()) as world:
        spec = world.spec
        for pod, source in (("api-0", spec.gateway.address), ("web-0", spec.laptop.address)):
            curl(world, f"http://{spec.pod(pod).address}:8080/who")
            assert world.read_file(pod, "/run/lab/http.log").split()[0] == str(source)


def test_the_laptop_sees_its_own_files_and_none_of_the_machines(untouched: World) -> None:
    def show(path: str) -> str:
        return untouched.read_file(lab.LAPTOP, path)

    assert show("/etc/resolv.conf") == f"nameserver {untouched.spec.upstream.address}\n"
    assert "hosts: files dns\n" in show("/etc/nsswitch.conf")
    assert "devlink:x:990:alice\n" in show("/etc/group")
    assert show("/etc/hostname") == untouched.run(lab.LAPTOP, ["hostname"], check=True).stdout == "laptop\n"
    assert untouched.run(
        lab.LAPTOP, ["sh", "-c", 'echo "$HOME $XDG_RUNTIME_DIR"; stat -c %a "$XDG_RUNTIME_DIR"']
    ).stdout == ("/root /run/user/0\n700\n")


def test_the_resolver_file_can_be_replaced_by_rename(node_lan: World) -> None:
    script = "echo nameserver 192.0.2.1 >/etc/new && mv /etc/new /etc/resolv.conf && cat /etc/resolv.conf"
    assert node_lan.run(lab.LAPTOP, ["sh", "-ec", script], check=True).stdout == "nameserver 192.0.2.1\n"


def test_the_machines_own_folders_are_read_only_inside(untouched: World) -> None:
    done = untouched.run(lab.LAPTOP, ["sh", "-c", "touch /usr/devlink-was-here"])
    assert done.returncode != 0
    assert "Read-only file system" in done.stderr


def test_a_search_domain_is_in_the_resolver_file() -> None:
    with World.start(lab.network_a(search=("corp.example",))) as world:
        assert world.read_file(lab.LAPTOP, "/etc/resolv.conf").endswith("search corp.example\n")
        assert world.run(lab.LAPTOP, ["getent", "hosts", "wiki"], check=True).stdout.split()[0] == "192.0.2.81"


def test_an_unknown_ordinary_name_does_not_exist(untouched: World) -> None:
    said = untouched.run(lab.LAPTOP, ["dig", "nowhere.example.org"], check=True).stdout
    assert "status: NXDOMAIN" in said


def test_a_signal_to_a_popen_reaches_the_program_inside(untouched: World) -> None:
    script = "trap 'exit 7' INT; echo ready; while :; do sleep 0.01; done"
    with (
        untouched.popen(lab.LAPTOP, ["sh", "-c", script]) as polite,
        untouched.popen(lab.LAPTOP, ["cat"], stdin=subprocess.PIPE) as cat,
    ):
        assert polite.stdout is not None
        assert polite.stdout.readline() == "ready\n"
        polite.send_signal(signal.SIGINT)
        assert polite.wait() == 7
        inside = cat.inner_pid
        cat.kill()
        assert cat.wait() == -signal.SIGKILL
    assert inside not in [pid for pid, _ in untouched.processes()]


@pytest.mark.system
def test_another_user_of_the_world_is_not_root(untouched: World) -> None:
    said = untouched.run(
        lab.LAPTOP, ["sh", "-c", 'id -un; id -Gn; stat -c %U "$XDG_RUNTIME_DIR"'], user="alice", check=True
    )
    assert said.stdout.split("\n")[:3] == ["alice", "alice devlink", "alice"]
