"""python -m tests.relay.asking < QUESTIONS, on a laptop of the lab: asks a real API as a relay does.

A line of JSON in, a line out. In: `user` (a kubeconfig's path), `finds` (address, port and how often at once), and what
a RelayConfig has. Out: for each where it leads, or the reason of its refusal, and how many requests that took. With
`review` instead of `finds`: what the user may do, and how many requests that took.
"""

import asyncio
import ipaddress
import json
import sys
from typing import Any

from devlink.cluster.api import Api
from devlink.cluster.contexts import choose_access
from devlink.core.relay import RelayConfig, RelayOptions
from devlink.relay.endpoints import Endpoints
from devlink.relay.rights import check_rights

CLIENT = ipaddress.ip_address("127.0.0.1")


class Counting(Api):
    """Counts its requests."""

    asked = 0

    async def _ask(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        self.asked += 1
        return await super()._ask(*arguments, **named)

    def count(self) -> int:
        """Since it was last asked."""
        asked, self.asked = self.asked, 0
        return asked


async def answer(question: dict[str, Any]) -> Any:
    environ = {"KUBECONFIG": question["user"]}
    async with Counting(choose_access(None, environ), environ=environ) as api:
        namespaces = tuple(question.get("namespaces", ()))
        if "review" in question:
            rights = await check_rights(api, namespaces)
            first = api.count()
            again = await check_rights(api, namespaces, known=rights)
            finding = rights.finding()
            return {
                "enough": [rights.is_enough, again.is_enough], "reached": rights.reached, "asked": [first, api.count()],
                "finding": finding.code if finding else "",
            }  # fmt: skip
        config = RelayConfig(
            session="s", context="", namespaces=namespaces, api=ipaddress.ip_address(question["api"]),
            prefixes=tuple(ipaddress.ip_network(each) for each in question["prefixes"]),
            options=RelayOptions(**question.get("options", {})),
        )  # fmt: skip
        endpoints = Endpoints(api, config)
        said = []
        for address, port, times in question["finds"]:
            found = ipaddress.ip_address(address)
            results = await asyncio.gather(
                *(endpoints.find(found, port, client=CLIENT) for _ in range(times)), return_exceptions=True
            )
            asked = api.count()
            chain = await endpoints.chain(found, port)
            pod = f"{chain.pod.namespace}/{chain.pod.name}:{chain.pod.port}" if chain.pod else ""
            refused = sorted({str(each) for each in results if isinstance(each, BaseException)})
            said.append({"to": chain.refused or pod or chain.direct, "asked": asked, "refused": refused})
        endpoints.close()
        return said


for line in sys.stdin:
    print(json.dumps(asyncio.run(answer(json.loads(line)))), flush=True)
