"""A laptop beside a real control plane: what its developer types, and what the cluster's people do meanwhile."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from devlink import lab
from devlink.core.codec import encode
from devlink.core.profile_document import decode_profile
from devlink.lab.credentials import ADMIN, DEVELOPER, GROUPS, PUBLISHER, server_url
from tests.e2e.link import Link, linked

PATH = "/api/v1/namespaces/kube-public/configmaps/devlink-profile"
CACHE = "/root/.cache/devlink/profiles"
SEEN = "/root/.local/state/devlink/seen-through.json"
PUBLISHED = "/root/published.yaml"
SETTLED = "/root/settled.tar"
CONFIG = "/root/.config/devlink/config.toml"


class Beside:
    """The laptop's `link`, and its cluster."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.world = link.world
        for user in GROUPS:
            self.world.write_file(lab.LAPTOP, self.kubeconfig(user), self.world.kubeconfig(user))
        self.world.run(lab.LAPTOP, ["mkdir", "-p", str(Path(CONFIG).parent)], check=True)
        self.world.write_file(lab.LAPTOP, CONFIG, "refresh_spread = 0.05\n")
        tree = yaml.safe_load(self.world.profile())
        tree["spec"]["identity"] = {"ca": self.world.secrets.ca}
        self.profile: dict[str, Any] = encode(decode_profile(yaml.safe_dump(tree)))
        """The tree of the good profile, with the cluster's CA."""
        self._published: dict[str, Any] = {}
        """The good profile's ConfigMap, once it has been published."""

    @staticmethod
    def kubeconfig(user: str) -> str:
        return f"/root/{user}.kubeconfig"

    @property
    def name(self) -> str:
        return str(self.profile["metadata"]["name"])

    def devlink(self, *arguments: str, user: str = DEVELOPER, expect: int = 0, kubeconfig: str = "") -> str:
        """What a command says that is typed by `user`; fails the test unless it ends with `expect`."""
        env = {"KUBECONFIG": kubeconfig or self.kubeconfig(user)}
        return self.link._expect(self.link.devlink(*arguments, env=env), expect)

    def publish(self, change: Callable[[dict[str, Any]], object] = lambda _: None, *, revision: str = "") -> None:
        """Publish the good profile, changed, as its publisher would."""
        tree = copy.deepcopy(self.profile)
        change(tree)
        if revision:
            tree["metadata"]["revision"] = revision
        self.world.write_file(lab.LAPTOP, PUBLISHED, yaml.safe_dump(tree))
        self.devlink("profile", "publish", PUBLISHED, "--overwrite", user=PUBLISHER)

    def put(self, **content: Mapping[str, str | None]) -> None:
        """Write the ConfigMap's data or binaryData as somebody would who wishes us ill, or is careless."""
        self._ask("PATCH", {"data": None, "binaryData": None, **content}, "application/merge-patch+json")

    def _ask(self, method: str, body: Mapping[str, Any] | None = None, kind: str = "application/json") -> str:
        """Do something with the ConfigMap as the cluster's owner, not by devlink; the answer."""
        sent = [] if body is None else ["-H", f"Content-Type: {kind}", "--data-binary", "@-"]
        token = f"Authorization: Bearer {self.world.secrets.tokens[ADMIN]}"
        done = self.world.run(
            lab.LAPTOP,
            ["curl", "-sSk", "-f", "-X", method, "-H", token, *sent, server_url(self.world.spec) + PATH],
            input=None if body is None else json.dumps(body), timeout=30,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def codes(self) -> set[str]:
        """The findings of the one session that is up."""
        (session,) = self.link.status()["sessions"]
        return {finding["code"] for finding in session["findings"]}

    def routes(self) -> list[str]:
        """Our routes, as the kernel has them."""
        return sorted(self.link.run("ip", "route", "show", "proto", "231").splitlines())

    def forget(self) -> None:
        """The laptop has never heard of the cluster."""
        self.world.run(lab.LAPTOP, ["rm", "-rf", CACHE, SEEN], check=True)

    def settle(self) -> None:
        """The good profile is published, trusted, has come up once, and is down.

        Only the first time is it done: then what it left, in the cluster and on the laptop, is put back.
        """
        if self._published:
            self._ask("PUT", self._published)
            self.forget()
            self.link.run("tar", "-xPf", SETTLED)
            return
        self.publish()
        self.forget()
        self.devlink("profile", "fetch")
        self.link.trust(self.name)
        self.devlink("up")
        self.devlink("down")
        self.link.run("tar", "-cPf", SETTLED, CACHE, SEEN, PUBLISHED)
        self._published = json.loads(self._ask("GET"))
        for changing in ("resourceVersion", "uid", "creationTimestamp", "managedFields"):
            self._published["metadata"].pop(changing, None)


@contextmanager
def beside(log: Path) -> Iterator[Beside]:
    """A world with real parts, while the block runs."""
    with linked(lab.network_a(parts=lab.Parts.REAL), log) as link:
        yield Beside(link)
