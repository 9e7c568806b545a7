"""`devlink profile discover`, `publish`, `fetch` and `diff`: what goes between a cluster and its profile."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from devlink.cli import offers
from devlink.cli.output import output_option
from devlink.errors import ClusterError, UsageError

if TYPE_CHECKING:  # an HTTP client takes longer to import than the command may take to start
    from devlink.cluster.access import Access
    from devlink.cluster.api import Api
    from devlink.cluster.discovery import Discovery, Wishes
    from devlink.core.profile import BridgeProfile

T = TypeVar("T")

context_option = click.option(
    "--context",
    default=None,
    metavar="C",
    shell_complete=offers.contexts,
    help="A kubeconfig context or a login; else the current context.",
)


def _wishes_options(command: Any) -> Any:
    """What no API says."""
    for option in (
        click.option("--name", default=None, metavar="N", help="The profile's name; else the published one's, or made "
                     "of the context's."),
        click.option("--namespace", "namespaces", multiple=True, metavar="NS", help="Only services of this namespace "
                     "are asked for; several times for several."),
        click.option("--all-namespaces", is_flag=True, help="Services of all namespaces, whatever was published."),
        click.option("--search", "search", multiple=True, metavar="NS", help="Services of this namespace are "
                     "also found as NAME.NS; several times for several."),
        click.option("--no-search", is_flag=True, help="Whole names only, whatever was published."),
        click.option("--transport", type=click.Choice(["auto", "udp", "tcp"]), help="How the cluster's DNS is asked: "
                     "tcp where a firewall stops UDP."),
        click.option("--gateway", "gateways", multiple=True, metavar="ADDRESS", help="Who shall forward, instead of "
                     "whom the API shows; the first one first."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.command(short_help="Work a profile out from a cluster's API, and say where each fact came from.")
@context_option
@_wishes_options
@click.option("--from", "dumps", multiple=True, metavar="FILE", shell_complete=offers.files, help="Read what `kubectl "
              "get ... -o json|yaml` has printed, and ask no API; several times for several, - for stdin.")  # fmt: skip
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", help="Form of the profile.")
def discover(context: str | None, dumps: tuple[str, ...], output: str, **wishes: Any) -> int:
    """Work a profile out from a cluster's API. The profile goes to stdout, the report to stderr.

    Changes nothing. What may not be read costs that fact, and the report says which right would show it. What no API
    says (name, namespaces, search, transport, given gateways) is taken over from what is published, unless it is given
    here.
    """
    if dumps:
        if context is not None:
            raise UsageError("--from and --context both say what to read.", next_step="Leave one of them out.")
        from devlink.cluster.republishing import label

        stem = dumps[0].rpartition("/")[2].partition(".")[0]
        found = _from_dumps(dumps, _wishes(wishes, None, name=label(stem)))
    else:
        found = _run(_discovered(context, wishes))
    _report(found)
    profile = _found_profile(found)
    if output == "json":
        from devlink.core.codec import encode

        click.echo(json.dumps(encode(profile), indent=2, ensure_ascii=False))
    else:
        from devlink.core.profile_document import encode_profile

        click.echo(encode_profile(profile), nl=False)
    return 0


@click.command(short_help="Put a profile where everybody who may enter the cluster finds it.")
@click.argument("profile", required=False, metavar="[FILE|NAME]", shell_complete=offers.profiles)
@context_option
@_wishes_options
@click.option("--dry-run", is_flag=True, help="Print the objects as YAML, for GitOps, and change nothing.")
@click.option("--overwrite", is_flag=True, help="Also over what another has written there, or without having seen all.")
def publish(profile: str | None, context: str | None, dry_run: bool, overwrite: bool, **wishes: Any) -> int:
    """Publish a profile: the ConfigMap kube-public/devlink-profile, and everybody's right to read that one object.

    Without FILE or NAME it is what `discover` finds at this moment. What another has written is not overwritten unless
    told, nor is a fact changed because something could not be read. What is published already keeps its revision, so
    that no laptop fetches it again.
    """
    if profile is not None:
        wanted = _given(profile, wishes)
        if dry_run:
            return _print_manifests(wanted)
    return _run(_publish(context, wanted if profile is not None else None, wishes, dry_run, overwrite))


async def _publish(
    context: str | None, profile: BridgeProfile | None, wishes: dict[str, Any], dry_run: bool, overwrite: bool
) -> int:
    from devlink.cluster import publishing
    from devlink.cluster.republishing import check_not_worse

    async with _api(context) as api:
        if profile is None:
            published = await publishing.known(api, overwrite=overwrite)
            found = await _discover(api, wishes, published)
            _report(found)
            profile = _found_profile(found)
            if published is not None and not overwrite:
                check_not_worse(found, published)
        if dry_run:
            return _print_manifests(profile)
        written = await publishing.publish(api, profile, overwrite=overwrite)
    for remark in written.remarks:
        click.echo(f"! {remark}", err=True)
    if not written.changed:
        click.echo(f"Profile {profile.metadata.name} is published already, as it is.", err=True)
        return 0
    click.echo(f"Profile {profile.metadata.name} is published. Others now type: devlink up", err=True)
    return 0


def _print_manifests(profile: BridgeProfile) -> int:
    from devlink.cluster.publication import manifests, yaml_of

    click.echo(yaml_of(manifests(profile)), nl=False)
    return 0


def _given(name_or_path: str, wishes: dict[str, Any]) -> BridgeProfile:
    """A profile that is at hand; it says all but its name itself."""
    import dataclasses

    from devlink.agent.profiles import load
    from devlink.core.checks import DecodeError

    if any(value for key, value in wishes.items() if key != "name"):
        raise UsageError(
            "Options of discovery do not go with a profile that is given.",
            why="It says itself what it asks for.",
            next_step="Leave them out; only --name goes with it.",
        )
    found = load(name_or_path)
    try:
        metadata = dataclasses.replace(found.metadata, name=wishes["name"] or found.metadata.name)
    except DecodeError as error:
        raise UsageError(
            "The profile cannot be named so.",
            why="; ".join(map(str, error.faults)),
            next_step="Give another name: --name NAME",
        ) from None
    return dataclasses.replace(found, metadata=metadata)


@click.command(short_help="Get the profile that a cluster publishes, and keep it for `devlink up`.")
@context_option
@output_option("yaml", "json")
def fetch(context: str | None, output: str) -> int:
    """Get the profile that a cluster publishes, and keep it: `devlink up` then works while the API is away."""
    from devlink.agent import sources
    from devlink.cli.facts import show_findings

    async def get() -> sources.Obtained:
        async with _api(context) as api:
            return await sources.fetched(api)

    obtained = _run(get())
    profile = obtained.profile
    if output == "json":
        from devlink.core.codec import encode

        click.echo(json.dumps(encode(profile), indent=2, ensure_ascii=False))
    elif output == "yaml":
        from devlink.core.profile_document import encode_profile

        click.echo(encode_profile(profile), nl=False)
    assert obtained.origin is not None
    revision = f", revision {profile.metadata.revision}" if profile.metadata.revision else ""
    click.echo(f"Profile {profile.metadata.name} of context {obtained.origin.context}{revision}.", err=True)
    show_findings(obtained.findings)
    if not obtained.findings:
        click.echo(f"Bring it up: devlink up {profile.metadata.name}", err=True)
    return 0


@click.command(short_help="Show what `publish` would change.")
@click.argument("profile", required=False, metavar="[FILE|NAME]", shell_complete=offers.profiles)
@context_option
@_wishes_options
def diff(profile: str | None, context: str | None, **wishes: Any) -> int:
    """Show how a profile differs from the published one: FILE or NAME, else what `discover` finds at this moment."""
    wanted = _given(profile, wishes) if profile is not None else None
    published, wanted = _run(_both(context, wanted, wishes))
    lines = list(_difference(published, wanted))
    for line in lines:
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        click.echo(click.style(line, fg=colour) if sys.stdout.isatty() else line)
    if not lines:
        click.echo("No difference.", err=True)
    return 0


async def _both(
    context: str | None, wanted: BridgeProfile | None, wishes: dict[str, Any]
) -> tuple[BridgeProfile | None, BridgeProfile]:
    from devlink.cluster import publishing

    async with _api(context) as api:
        published = None
        try:
            published = (await publishing.fetch(api)).profile
        except ClusterError as error:
            if error.status != 404:
                raise
        if wanted is None:
            found = await _discover(api, wishes, published)
            _report(found, briefly=True)
            wanted = _found_profile(found)
        return published, wanted


def _difference(published: BridgeProfile | None, wanted: BridgeProfile) -> Iterable[str]:
    """As a unified diff of what they say; when and from where they came is no difference."""
    import dataclasses
    import difflib

    from devlink.core.profile_document import encode_profile

    def text(profile: BridgeProfile | None) -> list[str]:
        if profile is None:
            return []
        metadata = dataclasses.replace(profile.metadata, revision="")
        return encode_profile(dataclasses.replace(profile, metadata=metadata, provenance={})).splitlines()

    return difflib.unified_diff(text(published), text(wanted), "published", wanted.metadata.name, lineterm="")


def _run(work: Coroutine[Any, Any, T]) -> T:
    import asyncio

    return asyncio.run(work)


@contextlib.asynccontextmanager
async def _api(context: str | None) -> AsyncIterator[Api]:
    from devlink.cluster.api import Api
    from devlink.cluster.contexts import choose_access

    access: Access = choose_access(context, os.environ)
    async with Api(access, environ=os.environ, terminal=sys.stdin.isatty() and sys.stderr.isatty()) as api:
        yield api


async def _discovered(context: str | None, wishes: dict[str, Any]) -> Discovery:
    from devlink.cluster.publishing import known

    async with _api(context) as api:
        # Nothing is written: what may not be read is as good as none.
        return await _discover(api, wishes, await known(api, overwrite=True))


async def _discover(api: Api, wishes: dict[str, Any], published: BridgeProfile | None) -> Discovery:
    from devlink.cluster.contexts import IN_CLUSTER
    from devlink.cluster.discovery import discover as find
    from devlink.cluster.reads import collect
    from devlink.cluster.republishing import label

    context = api.access.name
    made = _wishes(wishes, published, name=label(context) if context != IN_CLUSTER else None)
    collected = await collect(api)
    # Over an unchecked connection nobody knows whose CA that would be.
    ca = None if api.access.insecure else api.access.ca
    found = find(collected.objects, made, unread=collected.unread, ca=ca)
    return _without_identity(found, api.access.name) if api.access.insecure else found


def _without_identity(found: Discovery, context: str) -> Discovery:
    import dataclasses

    from devlink.agent.notes import unproven
    from devlink.cluster.publishing import without_identity

    profile = without_identity(found.profile) if found.profile is not None else None
    findings = (unproven(context, "the cluster's CA was left out"), *found.findings)
    return dataclasses.replace(found, profile=profile, findings=findings)


def _from_dumps(dumps: tuple[str, ...], wishes: Wishes) -> Discovery:
    import dataclasses

    from devlink.cluster.discovery import discover as find
    from devlink.cluster.dumps import read_dumps

    names = {"Standard input" if name == "-" else name: name for name in dumps}
    dump = read_dumps(names, lambda shown: _dump(names[shown]))
    found = find(dump.objects, wishes)
    return dataclasses.replace(found, findings=(*found.findings, *dump.findings))


def _dump(name: str) -> bytes:
    """A file, or standard input. Raises UsageError; never reads more than a dump may have."""
    from devlink.cluster.discovery.documents import MAX_TEXT, too_large
    from devlink.errors import reason

    try:
        if name == "-":
            octets = sys.stdin.buffer.read(MAX_TEXT + 1)
        else:
            with open(name, "rb") as file:
                octets = file.read(MAX_TEXT + 1)
    except OSError as error:
        raise UsageError(
            f"{name} cannot be read.",
            why=reason(error),
            next_step="Name a file with what `kubectl get ... -o json` has printed, or - for standard input.",
        ) from error
    if len(octets) > MAX_TEXT:
        raise too_large("Standard input" if name == "-" else name)
    return octets


def _wishes(given: dict[str, Any], published: BridgeProfile | None, *, name: str | None) -> Wishes:
    """Of the options of a command. Raises UsageError."""
    from devlink.cluster.republishing import Given, wishes_of
    from devlink.core.codec import parse_address
    from devlink.core.profile import Transport

    try:
        gateways = tuple(parse_address(text) for text in given["gateways"])
    except ValueError as error:
        raise UsageError(
            f"--gateway: {error.args[0]}.", next_step="Give an address, as in --gateway 172.16.0.13"
        ) from None
    transport = Transport(given["transport"]) if given["transport"] else None
    revision = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return wishes_of(
        Given(**{**given, "gateways": gateways, "transport": transport}), published, name=name, revision=revision
    )


def _found_profile(found: Discovery) -> BridgeProfile:
    if found.profile is None:
        rights = "; ".join(dict.fromkeys(each.right for each in found.unread if each.status in (401, 403)))
        step = "Have somebody with these rights run it" if rights else "Look above for what was missing"
        raise ClusterError(
            "Nothing was found that a profile could be made of.",
            why=f"These rights would show more: {rights}."
            if rights
            else "The cluster's objects say nothing of its networks.",
            next_step=f"{step}, or write the profile by hand: `profiles/` has samples.",
        )
    return found.profile


def _report(found: Discovery, *, briefly: bool = False) -> None:
    """Each fact with its source, and what is worth telling."""
    from devlink.cli.facts import facts_of, show_findings, table

    if found.profile is not None and not briefly:
        rows = [(key, value, source or "-") for key, value, source in facts_of(found.profile)]
        click.echo(table(rows, "  "), err=True)
    show_findings(found.findings)
