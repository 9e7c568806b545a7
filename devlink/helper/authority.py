"""polkit: whether a caller who is not root may do what is for the machine's owner to allow. A person may be asked."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping
from typing import Any

from devlink.errors import ConflictError, DevlinkError, NobodyAskedError, NotAuthorizedError, reason
from devlink.helper.access import user_name
from devlink.rpc.peer import is_running
from devlink.rpc.server import Session

log = logging.getLogger(__name__)

ACTION = "io.devlink.trust"
"""service/layout: polkit-1/actions."""
SERVICE, PATH = "org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority"
INTERFACE = f"{SERVICE}.Authority"
MAY_ASK = 1
"""AllowUserInteraction of CheckAuthorization: the session's agent may show a dialog."""
CANCELLATION = "asked"
"""Names our question to polkit, of which a connection has one."""
ANSWER_LIMIT = 120.0
"""Seconds for a person to type a password, and to think before."""
BUS_LIMIT = 3.0
"""Seconds to get on the bus."""


class Authority:
    """Asks polkit, without keeping anyone else waiting meanwhile."""

    def __init__(self) -> None:
        self._asked: set[int] = set()

    async def check(self, caller: Session, deed: str, profile: str, *, message: str = "") -> None:
        """Return where the caller is root, or polkit has authorised its process.

        `deed` begins the sentence that says no; `message` is for the person who is asked, in place of the action's own.
        Cancelled, the question is taken back. Raises NotAuthorizedError, NobodyAskedError, and ConflictError while this
        user is being asked already.
        """
        uid = caller.peer.uid
        if uid == 0:
            return
        if uid in self._asked:
            raise ConflictError(
                f"User {user_name(uid)} is being asked already.", next_step="Answer that question, or cancel it."
            )
        details = {"profile": profile, **({"polkit.message": message} if message else {})}
        self._asked.add(uid)
        try:
            why, is_unasked = await self._ask(caller, details)
        finally:
            self._asked.discard(uid)
        if why:
            log.info("%s of %s by %s was not authorised: %s", deed, profile, user_name(uid), why)
            raise (NobodyAskedError if is_unasked else NotAuthorizedError)(
                f"{deed} is for the machine's owner.", why=why, next_step="Ask the machine's owner, or do it as root."
            )
        log.info("%s of %s by %s was authorised by polkit", deed, profile, user_name(uid))

    async def _ask(self, caller: Session, details: Mapping[str, str]) -> tuple[str, bool]:
        """Why not, empty where it may; and whether that is for want of somebody who asks."""
        try:
            pidfd = caller.open_pidfd()
        except OSError as error:
            return f"The process that asks is gone: {reason(error)}", False
        try:
            async with asyncio.timeout(ANSWER_LIMIT):
                answer = await _check_authorization(caller.peer.pid, caller.peer.uid, details)
            # polkit goes by the number, which is another process' as soon as this one has ended.
            if not is_running(pidfd):
                return "The process that asked has ended meanwhile.", False
        except TimeoutError:
            return f"Nobody answered within {ANSWER_LIMIT:g} s.", False
        except DevlinkError as error:
            return reason(error), False
        except Exception as error:  # a bus that ends at this moment is met by more than OSError
            return f"polkit cannot be asked: {reason(error)}", False
        finally:
            os.close(pidfd)
        return _why_not(*answer)


def _why_not(is_authorized: bool, is_challenge: bool, details: Mapping[str, str]) -> tuple[str, bool]:
    if is_authorized:
        return "", False
    if details.get("polkit.dismissed"):
        return "The question for the password was dismissed.", False
    if is_challenge:
        return "polkit wants a password, and nothing in this session can ask for it.", True
    return "polkit said no: the password was wrong, or a rule of this machine forbids it.", False


async def _check_authorization(
    pid: int, uid: int, details: Mapping[str, str]
) -> tuple[bool, bool, Mapping[str, str]]:  # fmt: skip
    """polkit's answer. Raises NotAuthorizedError where it gives none, OSError and EOFError of the bus."""
    from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call  # not before somebody asks
    from jeepney.io.asyncio import open_dbus_connection

    address = DBusAddress(PATH, SERVICE, INTERFACE)

    def call(method: str, signature: str, *arguments: Any) -> Any:
        return new_method_call(address, method, signature, arguments)

    try:
        async with asyncio.timeout(BUS_LIMIT):
            bus = await open_dbus_connection("SYSTEM")
    except (OSError, EOFError) as error:
        raise _no_polkit() from error
    try:
        # start-time 0: polkit looks itself; in the helper's sandbox the processes of others cannot be seen.
        subject = ("unix-process", {"pid": ("u", pid), "start-time": ("t", 0), "uid": ("i", uid)})
        number = next(bus.outgoing_serial)
        question = call(
            "CheckAuthorization", "(sa{sv})sa{ss}us", subject, ACTION, dict(details), MAY_ASK, CANCELLATION
        )  # fmt: skip
        await bus.send(question, serial=number)
        try:
            while True:
                answer = await bus.receive()
                if answer.header.fields.get(HeaderFields.reply_serial) == number:
                    break
        except asyncio.CancelledError:  # the caller has gone, or had its time: the dialog goes, too
            with contextlib.suppress(OSError):  # polkit also forgets who is no longer on the bus
                await bus.send(call("CancelCheckAuthorization", "s", CANCELLATION))
            raise
    finally:
        bus.writer.close()
    if answer.header.message_type is MessageType.error:
        name = str(answer.header.fields.get(HeaderFields.error_name, ""))
        if not name.startswith(f"{SERVICE}."):  # the bus', which cannot start it: not installed, or masked
            raise _no_polkit()
        said = "".join(str(each) for each in answer.body[:1])
        raise NotAuthorizedError(
            f"polkit did not answer: {said or name}.", next_step="Install devlink's package again, or do it as root."
        )
    is_authorized, is_challenge, said = answer.body[0]
    return is_authorized, is_challenge, said


def _no_polkit() -> NotAuthorizedError:
    return NotAuthorizedError("There is no polkit on this machine that could ask.", next_step="Do it as root.")
