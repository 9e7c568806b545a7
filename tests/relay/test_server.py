import asyncio

from tests.relay.node import PodStream
from tests.relay.world import ADDRESS, PORT, World, relayed


async def echo(stream: PodStream) -> None:
    while octets := await stream.read():
        await stream.write(octets)
    stream.end()


@relayed
async def test_a_connection_is_led_to_the_pod_and_back(world: World) -> None:
    world.api.add("shop/db", ADDRESS, {PORT: echo})
    await world.serve((ADDRESS, PORT))
    loop = asyncio.get_running_loop()
    program = await world.program()
    await loop.sock_sendall(program, b"hello")
    assert await loop.sock_recv(program, 100) == b"hello"
