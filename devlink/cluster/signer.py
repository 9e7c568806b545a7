"""As whom one asks an API at this moment: what the kubeconfig says, or what its program that signs in has granted."""

import asyncio
from collections.abc import Mapping

from devlink.cluster import exec_plugin
from devlink.cluster.access import Access, Credentials


class Signer:
    """The credentials of one `Access`, asked for anew when they have expired or were refused."""

    def __init__(self, access: Access, *, environ: Mapping[str, str], terminal: bool = False) -> None:
        """`environ`: of the program that signs in; `terminal`: it may ask at this process's terminal."""
        self._access = access
        self._environ = environ
        self._terminal = terminal
        self._asking = asyncio.Lock()

    async def credentials(self) -> Credentials:
        """Raises UsageError where the program cannot be run, ClusterError where it grants nothing."""
        plugin = self._access.credentials.plugin
        if plugin is None:
            return self._access.credentials
        async with self._asking:  # many requests at once, one program
            return await exec_plugin.credentials_of(self._access, plugin, self._environ, terminal=self._terminal)

    def forget(self, refused: Credentials) -> bool:
        """Whether another try may fare better: the program that signs in is asked anew."""
        plugin = self._access.credentials.plugin
        if plugin is None:
            return False
        exec_plugin.forget(self._access, plugin, self._environ, refused)
        return True
