"""The versions of the parts that run."""

from collections.abc import Iterator

from devlink.errors import DevlinkError
from devlink.helper.client import SOCKET
from devlink.rpc.client import Client


def running_versions() -> Iterator[tuple[str, str]]:
    """Each running part with its version, or with why there is none."""
    from devlink.agent.places import agent_socket

    for part, place in (("agent", agent_socket), ("helper", lambda: SOCKET)):
        try:
            with Client.connect(place(), timeout=2.0) as client:
                yield part, str(client.call("org.varlink.service.GetInfo").get("version", "unknown"))
        except DevlinkError as error:
            yield part, error.what
        except (FileNotFoundError, ConnectionRefusedError):
            yield part, "not running"
        except OSError as error:
            yield part, f"does not answer: {error.strerror or error}"
