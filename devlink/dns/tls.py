"""DNS over TLS (RFC 7858), with the server's certificate checked. Imported only where asked for: ssl takes 5 MB."""

import os
import socket
import ssl

from devlink.dns.config import Server
from devlink.dns.sockets import CHUNK, Stream


def context_of(authorities: str) -> ssl.SSLContext:
    """Checks certificates and names by these CA certificates (PEM). Raises ssl.SSLError where they are none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False  # RFC 6125 section 6.4.4
    context.load_verify_locations(cadata=authorities)
    return context


class TlsStream(Stream):
    """A connection with TLS on it. `progress` shakes hands first; nothing is sent before the certificate was good."""

    def __init__(self, server: Server, context: ssl.SSLContext) -> None:
        """Begins to connect. Raises OSError."""
        super().__init__(server)
        self._server = server
        self._context = context
        self._tls: ssl.SSLSocket | None = None
        self._is_through = False
        self._awaits_writing = True

    @property
    def wants_write(self) -> bool:
        return self._awaits_writing or (self._is_through and bool(self._unsent))

    def progress(self) -> tuple[list[bytes], bool]:
        """As Stream's. Raises OSError also where the certificate is not the server's."""
        self._awaits_writing = False
        try:
            if self._tls is None:
                code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise OSError(code, os.strerror(code))
                self._tls = self._context.wrap_socket(
                    self.sock, server_hostname=self._server.tls_name, do_handshake_on_connect=False
                )
                self.sock = self._tls
            if not self._is_through:
                self._tls.do_handshake()
                self._is_through = True
            return super().progress()
        except ssl.SSLWantReadError:
            return [], False
        except ssl.SSLWantWriteError:
            self._awaits_writing = True
            return [], False

    def _send(self) -> None:
        try:
            super()._send()
        except ssl.SSLEOFError:  # how OpenSSL calls a reset
            self._unsent.clear()

    def _receive(self) -> bool:
        while True:
            try:
                data = self.sock.recv(CHUNK)
            except ssl.SSLWantReadError:
                return False
            self._reader.feed(data)
            if not data:
                return True
