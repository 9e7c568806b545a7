"""The API server of the first cluster, as far as a laptop asks it: who somebody is, and the profile that is published.

`api.py FOLDER`: in it lie cert.pem, key.pem, token and profile.yaml. Who has not the token gets 401, and nothing.
"""

import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PLACE = ("172.16.0.13", 6443)
"""lan.NODE: a laptop reaches it without devlink."""
FOLDER = Path(sys.argv[1])
REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
PROFILE = "/api/v1/namespaces/kube-public/configmaps/devlink-profile"


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if not self.is_known():
            self.answer(401, status(401, "Unauthorized"))
        elif path == PROFILE and "watch" not in query:
            metadata = {"name": "devlink-profile", "namespace": "kube-public", "resourceVersion": "1"}
            data = {"profile.yaml": (FOLDER / "profile.yaml").read_text()}
            self.answer(200, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
        else:
            self.answer(404, status(404, "NotFound"))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.is_known():
            self.answer(401, status(401, "Unauthorized"))
        elif self.path.partition("?")[0] == REVIEWS:
            self.answer(201, {"kind": "SelfSubjectReview", "status": {"userInfo": {"username": "carol"}}})
        else:
            self.answer(404, status(404, "NotFound"))

    def is_known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {(FOLDER / 'token').read_text()}"

    def answer(self, code: int, tree: dict[str, Any]) -> None:
        body = json.dumps(tree).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def status(code: int, reason: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason}


def main() -> None:
    server = ThreadingHTTPServer(PLACE, Api)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(FOLDER / "cert.pem", FOLDER / "key.pem")
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
