"""The same story with the real parts of a cluster: who publishes, who connects, and an API server that dies."""

from collections.abc import Iterator
from contextlib import contextmanager

from devlink.lab.credentials import DEVELOPER, PUBLISHER, server_url
from devlink.lab.demo import SAY, Demo, Teller, a_world, says, shows, succeeds
from devlink.lab.rootfs import HOME
from devlink.lab.spec import LAPTOP, Parts
from devlink.lab.worlds import network_a

OPERATOR = f"{HOME}/operator.kubeconfig"


class RealDemo(Demo):
    """One run of the story beside a real control plane."""

    def accounts(self) -> None:
        """The laptop has the developer's kubeconfig where kubectl looks for it, and the operator's beside it."""
        self.world.run(LAPTOP, ["mkdir", "-p", f"{HOME}/.kube"], check=True)
        for path, user in ((f"{HOME}/.kube/config", DEVELOPER), (OPERATOR, PUBLISHER)):
            self.world.write_file(LAPTOP, path, self.world.kubeconfig(user), mode=0o600)

    def publish(self) -> None:
        """The operator publishes what the cluster's API tells."""
        self.tell.heading("Once for each cluster: somebody with rights publishes the profile")
        self.step(
            ("devlink", "profile", "publish"), shows(f"Profile {self.name} is published"),
            "all of it was read from the API, and lies in one ConfigMap", env={"KUBECONFIG": OPERATOR},
        )  # fmt: skip

    def developer(self) -> None:
        """The developer's token may read that ConfigMap, and nothing else."""
        self.tell.heading("The developer's own token")
        self.step(
            ("kubectl", "get", "nodes"), lambda code, said: code == 1 and "Forbidden" in said,
            "it may not look at the cluster's nodes",
        )  # fmt: skip
        self.step(("devlink", "profile", "fetch"), shows(self.name), "but it may read the published profile")

    def trust(self) -> None:
        """The machine's owner trusts what was fetched."""
        self.step(("devlink", "trust", self.name, "--yes"), succeeds, "the profile is trusted on this machine")

    def up(self) -> None:
        """`devlink up`, with no file."""
        self.tell.heading("The main job, with no profile file")
        self.step(("devlink", "up"), shows("as it is published now"), "up, verified, and it is this cluster by its CA")

    def make_default(self) -> None:
        """It is already: the kubeconfig's current context is this cluster."""

    def outage(self) -> None:
        """The API server is killed, and what a developer does all day goes on."""
        spec = self.world.spec
        self.tell.heading("The API server dies")
        self.tell.command("kill -9 kube-apiserver      (on cp)")
        self.world.kill_api()
        self.step(
            (*SAY, "-k", f"{server_url(spec)}/readyz"), lambda code, _: code in (7, 28, 35, 56), "nobody answers there"
        )  # fmt: skip
        self.step(("devlink", "down"), succeeds, "down")
        self.step(("devlink", "up"), shows("the copy that is kept here"), "up again, by the copy from before")
        web = spec.service("web")
        promise = "names and ClusterIPs answer as before"
        self.step((*SAY, f"http://{spec.service_name('web')}"), says(web.endpoints[0]), promise)


@contextmanager
def prepared(tell: Teller) -> Iterator[RealDemo]:
    """A world with the profile published, fetched and trusted, and the helper running."""
    tell.note(
        "Starting etcd, kube-apiserver, kube-controller-manager, two kube-proxies and CoreDNS: five to ten seconds."
    )
    with a_world(tell, network_a(parts=Parts.REAL)) as world:
        demo = RealDemo(world, tell)
        demo.accounts()
        demo.before()
        demo.publish()
        demo.developer()
        with demo.helper():
            demo.trust()
            yield demo
