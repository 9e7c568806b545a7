"""A program's connection, as the relay has it."""

import asyncio
import socket

from devlink.relay.clients import Client


class Program:
    """What its connection told."""

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.has_spoken = asyncio.Event()

    def client_sent(self, octets: bytes) -> None:
        self.said.append(octets)
        self.has_spoken.set()

    def client_ended(self) -> None:
        self.said.append(b"its end")

    def client_drained(self) -> None: ...

    def client_lost(self) -> None: ...


def test_what_a_program_said_before_is_told_as_soon_as_it_is_read_and_goes_out_with_the_streams_beginning() -> None:
    async def story() -> list[bytes]:
        ours, theirs = socket.socketpair()
        with theirs:
            program = Program()
            client = Client(ours, program)
            theirs.sendall(b"hello")
            client.resume(at_once=True)
            said = list(program.said)  # before the loop has gone round
            client.close()
        return said

    assert asyncio.run(story()) == [b"hello"]


def test_what_waits_for_a_program_comes_before_the_end() -> None:
    async def story() -> int:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.setblocking(False)
            client = Client(ours, Program())
            client.send([bytes(1 << 22)])
            assert client.waiting
            client.end()
            come = 0
            async with asyncio.timeout(20):
                while octets := await asyncio.get_running_loop().sock_recv(theirs, 1 << 20):
                    come += len(octets)
            client.close()
        return come

    assert asyncio.run(story()) == 1 << 22


def test_a_program_that_waits_for_the_servers_word_is_read_later() -> None:
    async def story() -> list[bytes]:
        ours, theirs = socket.socketpair()
        with theirs:
            program = Program()
            client = Client(ours, program)
            client.resume(at_once=True)
            assert program.said == []
            theirs.sendall(b"hello")
            await asyncio.wait_for(program.has_spoken.wait(), 20)
            client.close()
        return program.said

    assert asyncio.run(story()) == [b"hello"]
