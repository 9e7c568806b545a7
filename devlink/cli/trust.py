"""`devlink trust`: the machine's owner looks at what a profile claims, once."""

import hashlib
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from devlink.cli import offers
from devlink.cli.asking import agent_in_terminal, confirm
from devlink.cli.output import emit, output_option
from devlink.errors import NobodyAskedError, NotAuthorizedError, NotPermittedError, NotTrustedError, UsageError
from devlink.helper.client import LIMIT, connect
from devlink.hints import as_root

if TYPE_CHECKING:  # its imports are for the one command that gives trust
    from click.shell_completion import CompletionItem

    from devlink.core.trust import TrustRecord


class ProfileOrCommand(click.Group):
    """A group that takes a profile where no subcommand is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Before the group's own parser, which knows none of the options that go without a PROFILE.
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["give", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        options = self.commands["give"].shell_complete(ctx, incomplete)
        known = offers.profiles(ctx, self.commands["give"].params[0], incomplete) if incomplete[:1] != "-" else []
        return [*super().shell_complete(ctx, incomplete), *options, *known]

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "[PROFILE | --context C] [--yes] [--sha256 HASH]")
        formatter.write_usage(ctx.command_path, "COMMAND", prefix="   or: ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Options, with or without PROFILE"):
            options = (each for each in self.commands["give"].params if isinstance(each, click.Option))
            records = [option.get_help_record(ctx) for option in options]
            formatter.write_dl([record for record in records if record is not None])
        super().format_options(ctx, formatter)


class Give(click.Command):
    """The command that is never typed: its own help names the one that is."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        typed = ctx.parent.command_path if ctx.parent is not None else ctx.command_path
        formatter.write_usage(typed, "[PROFILE | --context C] [--yes] [--sha256 HASH]")


@click.group(cls=ProfileOrCommand, invoke_without_command=True)
@click.pass_context
def trust(ctx: click.Context) -> int:
    """Let a profile change this machine's routes and names: `devlink trust PROFILE`.

    Shows what the profile claims and asks once. A profile that later claims more is held back until trusted again.
    """
    if ctx.invoked_subcommand is None:
        result = ctx.invoke(give)
        return result if isinstance(result, int) else 0
    return 0


@trust.command(cls=Give, hidden=True)
@offers.profile_or_context("The profile that the cluster of context C gave.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--sha256", default="", metavar="HASH", help="Refuse if the file is not the one with this hash.")
def give(profile: str | None, context: str, yes: bool, sha256: str) -> int:
    """Trust PROFILE."""
    _give(profile or "", context, is_sure=yes, sha256=sha256)
    return 0


def _give(profile: str, context: str, *, is_sure: bool = False, sha256: str = "") -> None:
    from devlink.agent.profiles import choose, given_by
    from devlink.core.codec import decode
    from devlink.core.profile_document import encode_profile
    from devlink.core.trust import TrustRecord, claim_of_profile, record_of, remarks
    from devlink.kernel.observe import observe

    if profile and context:
        raise UsageError("PROFILE and --context both say which profile.", next_step="Leave one of them out.")
    loaded = given_by(context) if context else choose(profile)
    text = encode_profile(loaded)
    if sha256 and hashlib.sha256(text.encode()).hexdigest() != sha256:
        raise UsageError(
            f"{profile or loaded.metadata.name} is not the profile that was shown.",
            why="Its SHA-256 differs: it was changed.",
            next_step="Look at it again: devlink profile show FILE",
        )
    claim = claim_of_profile(loaded)
    record = record_of(claim, observe())
    click.echo(f"Profile {record.name} claims:", err=True)
    _show(record)
    for remark in remarks(claim):
        click.echo(f"  ! {remark}", err=True)
    # A hash was given for what has been looked at: the line that an ordinary user's `devlink trust` prints, with sudo's
    # own question, is the one time of asking.
    if not (is_sure or sha256):
        if os.geteuid() != 0 and not sys.stdin.isatty():
            raise _needs_root(text, record.name)
        confirm(
            "Trust it on this machine?",
            refused="Not trusted.",
            unasked="Run it at a terminal; or, where that is what you want to trust: --yes",
        )
    try:
        recorded = decode(TrustRecord, _call_as_owner("Trust", {"profile": text})["record"])
    except NotAuthorizedError as error:
        raise _needs_root(text, record.name, error.why) from error
    if recorded != record:  # the network may have changed meanwhile, or the helper be another one
        click.echo("The record is not what was shown: the helper looks at the network itself. It says:", err=True)
        _show(recorded)
        click.echo(f"If that is not right, take it back: devlink trust revoke {record.name}", err=True)
    click.echo(f"Profile {record.name} is trusted.", err=True)


def _show(record: "TrustRecord") -> None:
    click.echo(f"  addresses    {', '.join(map(str, record.prefixes)) or 'none'}", err=True)
    click.echo(f"  names below  {', '.join(map(str, record.domains)) or 'none'}", err=True)
    if record.search:
        click.echo(f"  and names    {', '.join(f'NAME.{namespace}' for namespace in record.search)}", err=True)
    click.echo(f"  next hops    {', '.join(map(str, record.next_hops)) or 'none'}", err=True)
    if record.dns_servers:
        click.echo(f"  DNS servers  {', '.join(map(str, record.dns_servers))}", err=True)
    click.echo(f"  cluster CA   {record.ca or 'none'}", err=True)


def _call_as_owner(verb: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the helper answers, for which it may have polkit ask for a password. Raises NotAuthorizedError.

    In a session that has no authentication agent, such as one over ssh, polkit's own for terminals is started.
    """
    from devlink.helper.authority import ANSWER_LIMIT

    with connect(timeout=ANSWER_LIMIT + LIMIT) as client:
        method = f"io.devlink.Helper.{verb}"
        try:
            return client.call(method, parameters)
        except NobodyAskedError:
            with agent_in_terminal() as is_there:
                if not is_there:
                    raise
                return client.call(method, parameters)


def offer(error: NotTrustedError) -> bool:
    """Whether the profile that `up` was refused is trusted now: at a terminal its user is shown it, and asked once.

    Raises as `devlink trust` does.
    """
    _, is_advised, asked = error.next_step.partition("devlink trust")
    if not is_advised or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    click.echo(f"{error.what} {error.why}", err=True)
    match shlex.split(asked):
        case ["--context", context]:
            _give("", context)
        case words:
            _give(" ".join(words), "")
    return True


def _needs_root(text: str, name: str, why: str = "") -> NotPermittedError:
    """The one line that does it: an absolute path, since root's PATH may find iproute2's devlink; a file and its hash,
    so that what root trusts is what was shown."""
    import platformdirs

    path = Path(platformdirs.user_cache_dir("devlink")) / "trust" / f"{name}.yaml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(
            f"The profile cannot be laid down for root to read: {path}.",
            why=f"{error.strerror}.",
            next_step="Mend that folder's permissions, or set XDG_CACHE_HOME.",
        ) from error
    digest = hashlib.sha256(text.encode()).hexdigest()
    return NotPermittedError(
        "Giving trust is for the machine's owner.", why=why, next_step=as_root("trust", str(path), "--sha256", digest)
    )


@trust.command("list")
@output_option("json", "yaml")
def list_(output: str) -> int:
    """Show what is trusted on this machine."""
    with connect() as client:
        records = client.call("io.devlink.Helper.ListTrust")["records"]
    if output != "text":
        emit({"records": records}, output)
        return 0
    for record in records:
        names = [*record.get("domains", []), *(f"NAME.{namespace}" for namespace in record.get("search", []))]
        click.echo(f"{record['name']}  {', '.join(record.get('prefixes', []))}  {', '.join(names)}")
    if not records:
        click.echo("No profile is trusted.", err=True)
    return 0


@trust.command()
@click.argument("name", shell_complete=offers.names_of_profiles)
def revoke(name: str) -> int:
    """Take trust back from profile NAME. What is up stays up."""
    try:
        _call_as_owner("Revoke", {"name": name})
    except NotAuthorizedError as error:
        error.next_step = as_root("trust", "revoke", name)
        raise
    click.echo(f"Profile {name} is no longer trusted.", err=True)
    return 0
