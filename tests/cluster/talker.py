"""A small HTTPS server that answers paths with objects, and notes who asked."""

import http.server
import json
import os
import ssl
import threading
from collections.abc import Mapping
from typing import Any, Self

from tests.certificates import Authority


class Talker:
    """On a port of 127.0.0.1, with a certificate of `authority` for that address."""

    def __init__(self, authority: Authority, answers: Mapping[tuple[str, str], tuple[int, Mapping[str, Any]]]) -> None:
        """`answers`: status and object by method and path; anything else is 404."""
        self.asked: list[tuple[str, str, str]] = []
        """Method, path and the Authorization header."""
        self.answers = dict(answers)
        asked, known = self.asked, self.answers

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:  # http.server calls it by this name
                self._answer()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                self._answer()

            def _answer(self) -> None:
                path = self.path.partition("?")[0]
                asked.append((self.command, path, self.headers.get("Authorization", "")))
                status, tree = known.get((self.command, path), (404, {"kind": "Status", "message": "not found"}))
                body = json.dumps(tree).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        issued = authority.issue("127.0.0.1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        descriptor = os.memfd_create("server")
        with open(descriptor, "w") as file:
            file.write(issued.certificate + issued.key)
            file.flush()
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        self._server = _Server(("127.0.0.1", 0), Handler, context)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type, context: ssl.SSLContext) -> None:
        super().__init__(address, handler)
        self._context = context

    def finish_request(self, request: Any, client_address: Any) -> None:
        try:
            with self._context.wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, client_address)
        except OSError:
            pass  # the client did not believe us, or had enough
