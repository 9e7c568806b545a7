"""What BIRD is told for what a host has to say."""

from devlink import lab
from devlink.lab.bgp import NextHop, Peer, Speaker, bird_config, expected
from devlink.lab.spec import WorldSpec
from devlink.lab.worlds.common import ip4, nets


def speaker(world: WorldSpec, host: str) -> Speaker:
    found = world.host(host).bgp
    assert found is not None
    return found


def session(config: str, peer: str) -> str:
    """The line of one session."""
    (line,) = (line for line in config.splitlines() if line.startswith(f"protocol bgp {peer} "))
    return line


def test_a_reflector_has_clients_and_an_equal_and_a_client_has_only_reflectors() -> None:
    world = lab.network_a(routes=lab.Routes.BIRD, reflectors=2)
    reflector = bird_config(speaker(world, "node1"))
    assert "rr client; rr cluster id 172.16.20.1;" in session(reflector, "node2")
    assert "rr client" not in session(reflector, "node3")
    client = speaker(world, "node2")
    assert {peer.name for peer in client.peers} == {"node1", "node3"}
    assert "rr c" not in bird_config(client)


def test_the_router_is_spoken_with_only_where_it_carries_the_cluster() -> None:
    for place, peers in ((lab.LaptopPlace.NODE_LAN, 0), (lab.LaptopPlace.BEHIND_ROUTER, 1)):
        world = lab.network_a(routes=lab.Routes.BIRD, laptop=place)
        assert [peer.name for peer in speaker(world, "node1").peers].count("tor") == peers
        assert bool(world.router.bgp) == bool(peers)


def test_a_mesh_is_everybody_with_everybody_and_leads_into_the_tunnel() -> None:
    world = lab.network_b(routes=lab.Routes.BIRD)
    for name in ("node1", "node2", "node3"):
        assert {peer.name for peer in speaker(world, name).peers} == {"node1", "node2", "node3"} - {name}
        assert 'ifname = "tunl0";' in bird_config(speaker(world, name))


def test_of_two_speakers_one_calls_the_other() -> None:
    world = lab.network_b(routes=lab.Routes.BIRD)
    one, other = (bird_config(speaker(world, name)) for name in ("node1", "node2"))
    assert ("passive;" in session(one, "node2")) != ("passive;" in session(other, "node1"))


def test_how_switch_and_reflectors_are_peered_is_said_on_both_sides() -> None:
    said = {}
    for peering in lab.Peering:
        world = lab.network_e(routes=lab.Routes.BIRD, peering=peering)
        said[peering] = session(bird_config(speaker(world, "node1")), "switch")
        assert ("multihop;" in session(bird_config(speaker(world, "router")), "node1")) == (
            "multihop;" in said[peering]
        )
    assert "multihop" not in said[lab.Peering.SINGLE_HOP]
    assert "next hop" not in said[lab.Peering.MULTIHOP]
    assert "next hop keep;" in said[lab.Peering.MULTIHOP_KEEP]


def test_a_speaker_waits_for_what_others_announce_and_it_neither_owns_nor_ignores() -> None:
    own, pods, services = nets("10.20.0.0/26", "10.20.0.64/26", "10.254.0.0/16")
    peer = Peer(name="other", address=ip4("172.16.0.2"), as_number=1, next_hop=NextHop.SELF)
    first = Speaker(router_id=ip4("172.16.0.1"), as_number=1, peers=(peer,), announces=(own,), ignores=(services,))
    second = Speaker(router_id=ip4("172.16.0.2"), as_number=1, peers=(), announces=(pods, services))
    assert expected(first, (second, second)) == (pods,)
    assert "next hop self;" in session(bird_config(first), "other")
