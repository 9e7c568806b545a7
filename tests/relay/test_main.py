"""The relay as a process: started with a listening socket, fed by its agent, gone with him."""

import asyncio
import os
import socket
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from devlink.core.codec import encode
from devlink.core.plan import Upstream
from devlink.core.prefixes import IPAddress
from devlink.core.relay import RelayConfig, RelayListener
from devlink.relay.server import RESERVED_FDS, room_for_connections
from devlink.rpc.connection import Connection
from devlink.run import argv
from tests.relay.node import ApiServer
from tests.relay.test_server import echo, said, say
from tests.relay.world import ADDRESS, PORT, kubeconfig

pytestmark = pytest.mark.slow


def test_without_a_socket_it_says_who_starts_it() -> None:
    done = subprocess.run(argv("devlink.relay"), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "started by an agent" in done.stderr


def test_it_asks_for_all_descriptors_that_it_may_have_and_takes_what_those_allow() -> None:
    script = (
        "import resource; hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1];"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (300, {hard}));"
        "from devlink.relay.server import room_for_connections as room;"
        "print(room(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    few = RESERVED_FDS + 2 * 100
    said_ = subprocess.run(
        [sys.executable, "-c", script.format(hard=few)], capture_output=True, text=True, timeout=30, check=True
    )
    assert said_.stdout.split() == ["100", str(few)]
    assert room_for_connections() > 100


def started(control: socket.socket, config: Path) -> "subprocess.Popen[bytes]":
    """One with that socket as sd_listen_fds(3) has it."""
    script = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&0 0</dev/null'
    return subprocess.Popen(
        ["/bin/sh", "-c", script, "sh", *argv("devlink.relay")],
        stdin=control.fileno(),
        env={**os.environ, "KUBECONFIG": str(config)},
    )


def test_it_serves_its_agent_and_ends_with_him(tmp_path: Path) -> None:
    async def inside() -> None:
        api = ApiServer()
        await api.start()
        api.add("shop/db", ADDRESS, {PORT: echo})
        with socket.socket(socket.AF_UNIX) as control:
            control.bind(str(tmp_path / "relay"))
            control.listen()
            process = started(control, kubeconfig(tmp_path, api.port))
        agent = await Connection.connect(str(tmp_path / "relay"))
        try:
            with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as program:
                here: IPAddress = ip_address("127.0.0.1")
                told = RelayListener(purpose="names", address=here, port=listener.getsockname()[1])
                config = RelayConfig(
                    session="s",
                    context="",
                    prefixes=(ip_network("10.1.0.0/16"),),
                    names=(Upstream(address=ip_address(ADDRESS), port=PORT),),
                )
                await agent.call(
                    "io.devlink.Relay.Serve",
                    {"config": encode(config), "listeners": [encode(told)]},
                    fds=(listener.fileno(),),
                    limit=30,
                )
                program.setblocking(False)
                await asyncio.get_running_loop().sock_connect(program, listener.getsockname())
                await say(program, b"x")
                assert await said(program) == b"x"
                agent.close()
                assert await asyncio.to_thread(process.wait, 20) == 0
        finally:
            agent.close()
            process.kill()
            process.wait()
            await api.stop()

    asyncio.run(inside())
