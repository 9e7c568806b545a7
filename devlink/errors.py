"""Every deliberate error: what happened, why, what to do next. The class says who acts and how the command exits."""

from typing import ClassVar


def reason(error: BaseException) -> str:
    """What an exception says, in whole sentences: the system's words for an OSError, what and why of one of ours."""
    if isinstance(error, DevlinkError):
        return " ".join(part for part in (error.what, error.why) if part)
    text = (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


class DevlinkError(Exception):
    """The base of all errors that devlink raises on purpose. Never raised itself.

    `what`, `why` and `next_step` are whole sentences for a person; `next_step` names a command where there is one.
    """

    exit_code: ClassVar[int] = 1
    """Exit status of a command that ends with this error (DESIGN.md, the user's surface)."""

    def __init__(self, what: str, *, why: str = "", next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.next_step = next_step

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.why, self.next_step) if part)


class UnexpectedError(DevlinkError):
    """A defect, or a machine that answers as no machine should. The developers act: the text says what to report."""

    exit_code = 1


class UsageError(DevlinkError):
    """The command cannot be meant as it was given. The user acts."""

    exit_code = 2


class NotUpError(DevlinkError):
    """Nothing is up, or not what was named. The user acts."""

    exit_code = 3


class VerificationError(DevlinkError):
    """It was installed, did not carry traffic, and was rolled back. The user or the network's people act."""

    exit_code = 4


class IdentityError(VerificationError):
    """Another cluster answers than the one that the profile means. The user decides whose network this is."""


class ConflictError(DevlinkError):
    """Another program, user or session owns what is wanted. The user decides."""

    exit_code = 5


class HelperError(DevlinkError):
    """The helper is missing, of another version, or could not do its work on this machine. The machine's owner acts."""

    exit_code = 6


class NotPermittedError(DevlinkError):
    """The caller may not use the helper. The machine's owner acts."""

    exit_code = 6


class NotAuthorizedError(NotPermittedError):
    """The machine's owner did not say yes when asked by polkit. The machine's owner acts."""


class NobodyAskedError(NotAuthorizedError):
    """polkit would ask for a password, and no authentication agent is there to ask. The caller may start one."""


class NotTrustedError(DevlinkError):
    """No trust record covers what is wanted. The machine's owner acts."""

    exit_code = 6


class ClusterError(DevlinkError):
    """The cluster does not answer or does not let us in. The cluster's people act."""

    exit_code = 7

    def __init__(self, what: str, *, why: str = "", next_step: str = "", status: int | None = None) -> None:
        super().__init__(what, why=why, next_step=next_step)
        self.status = status
        """The API's HTTP status: 401 who are you, 403 not allowed, 404 not there, 409 another's, 410 too old, 5xx.

        None where no answer came: no connection, no name, another certificate, too late.
        """


class ProfileError(DevlinkError):
    """A profile is invalid; `faults` has one line for each fault. Its publisher acts."""

    exit_code = 8

    def __init__(self, what: str, *, why: str = "", next_step: str = "", faults: tuple[str, ...] = ()) -> None:
        super().__init__(what, why=why, next_step=next_step)
        self.faults = faults
        """One line for each fault: the path to it, what is wrong, and a hint."""


class ProtocolError(DevlinkError):
    """The other side of a socket does not speak our protocol. Usually another version: restart what the text names."""

    exit_code = 6


BY_NAME: dict[str, type[DevlinkError]] = {
    cls.__name__.removesuffix("Error"): cls
    for cls in (
        UnexpectedError, UsageError, NotUpError, VerificationError, IdentityError, ConflictError, HelperError,
        NotPermittedError, NotAuthorizedError, NobodyAskedError, NotTrustedError, ClusterError, ProfileError,
        ProtocolError,
    )
}  # fmt: skip
"""The errors by the name that crosses a socket: `Conflict` for `ConflictError`."""
