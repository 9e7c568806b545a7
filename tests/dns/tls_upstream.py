"""A name server over TLS (RFC 7858) that notices what reaches it in clear."""

import select
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Self

from devlink.core.plan import Upstream
from tests.certificates import Issued
from tests.dns.forwarder_process import at_one_port
from tests.dns.lying_upstream import TICK, honest_answer
from tests.dns.messages import Unframer, frame, upstream

NAME = "dns.test"
Answer = Callable[[bytes, ssl.SSLSocket], None]


def over_tls(port: int) -> Upstream:
    """The server at that port of 127.0.0.1, which must prove to be NAME."""
    return replace(upstream("127.0.0.1", port=port), tls_name=NAME)


def honest(asked: bytes, connection: ssl.SSLSocket) -> None:
    connection.sendall(frame(honest_answer(asked)))


class TlsUpstream:
    """One port of 127.0.0.1: TLS over TCP, and UDP only to see who comes."""

    def __init__(self, issued: Issued, folder: Path, *, answer: Answer = honest) -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        """Questions that came through TLS."""
        self.clear: list[bytes] = []
        """What came in clear and should not have."""
        self.names: list[str | None] = []
        """The server name that each client asked for (RFC 6066 section 3)."""
        self.connections = 0
        folder.mkdir(exist_ok=True)
        chain = folder / f"{id(self)}.pem"
        chain.write_text(issued.certificate + issued.key)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(chain)
        self._context.sni_callback = self._note_name
        self._udp, self._listener = at_one_port("127.0.0.1")
        self.port: int = self._listener.getsockname()[1]
        self._stopping = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def upstream(self) -> Upstream:
        return over_tls(self.port)

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        for thread in self._threads:
            thread.join()
        self._listener.close()
        self._udp.close()

    def _note_name(self, _connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        self.names.append(name)

    def _accept(self) -> None:
        while not self._stopping:
            ready, _, _ = select.select([self._listener, self._udp], [], [], TICK)
            if self._udp in ready:
                self.clear.append(self._udp.recv(65535))
            if self._listener in ready:
                connection, _ = self._listener.accept()
                self.connections += 1
                thread = threading.Thread(target=self._serve, args=[connection], daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, raw: socket.socket) -> None:
        # No client sends application data before the handshake; a TLS record of one begins with 22.
        raw.settimeout(5)
        try:
            first = raw.recv(1, socket.MSG_PEEK)
            if first and first != b"\x16":
                self.clear.append(raw.recv(65535))
                return
            with self._context.wrap_socket(raw, server_side=True) as connection:
                connection.settimeout(TICK)
                reader = Unframer()
                while not self._stopping:
                    try:
                        data = connection.recv(65535)
                    except TimeoutError:
                        continue
                    if not data:
                        return
                    for packet in reader.feed(data):
                        self.asked.append(packet)
                        connection.settimeout(5)
                        self.answer(packet, connection)
                        connection.settimeout(TICK)
        except OSError:
            pass  # the client did not like what it saw
        finally:
            raw.close()
