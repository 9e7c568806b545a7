"""An agent and a helper of different versions: what they may still do together."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

import devlink
from devlink.agent import helper_link
from devlink.agent.helper_link import HelperLink, line_beside
from devlink.errors import HelperError
from devlink.rpc import varlink
from tests.agent.helper_peer import helper_at


def speaking(monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str], version: str = "9.9") -> None:
    """The helper is of that version, and has another interface; of the agent's nothing changes."""
    ours = varlink.interface_description(helper_link.INTERFACE)
    monkeypatch.setattr(varlink, "interface_description", lambda _: change(ours))
    monkeypatch.setattr(varlink, "__version__", version)
    assert devlink.__version__ != version


def ask(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The version of the helper that the agent works with. Raises HelperError."""

    async def returned() -> None: ...

    async def body() -> str:
        async with asyncio.timeout(10), helper_at(folder, monkeypatch):
            link = HelperLink(lost=lambda _: None, returned=returned)
            try:
                await link.state()
                async with line_beside() as line:
                    await line.call("io.devlink.Helper.List")
                return link.version
            finally:
                link.close()

    return asyncio.run(body())


@pytest.mark.parametrize(
    "change",
    [str, lambda text: text + "\nmethod Dance() -> ()\n", lambda text: f"# newer\n{text}"],
    ids=["same", "more", "commented"],
)
def test_a_helper_of_another_version_with_all_that_the_agent_knows_is_worked_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str]
) -> None:
    speaking(monkeypatch, change)
    assert ask(tmp_path, monkeypatch) == "9.9"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("method Release(session: string", "method Release(name: string"),
        lambda text: text.replace("method Switch", "method Turn"),
        lambda _: "",
    ],
    ids=["parameter", "method", "nothing"],
)
def test_a_helper_that_speaks_otherwise_is_refused_with_what_to_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str]
) -> None:
    speaking(monkeypatch, change)
    with pytest.raises(HelperError, match=r"helper is version 9\.9.*do not understand") as refused:
        ask(tmp_path, monkeypatch)
    assert "systemctl --user restart devlink-agent.service" in refused.value.next_step
