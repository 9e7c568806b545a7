"""`devlink profile`: look at profiles and check them; those of clusters are in `devlink.cli.cluster`."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from devlink.cli import cluster, offers
from devlink.core.text import duration
from devlink.errors import ProfileError, UsageError

if TYPE_CHECKING:
    from devlink.agent.profiles import KnownProfile


@click.group()
def profile() -> None:
    """Look at profiles, check them, get them from a cluster and publish them there."""


for command in (cluster.discover, cluster.publish, cluster.fetch, cluster.diff):
    profile.add_command(command)


@profile.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", shell_complete=offers.files)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the result.")
def validate(files: tuple[str, ...], output: str) -> None:
    """Check profiles and name every fault in them. - reads standard input."""
    results = [_validated(name) for name in files]
    if output == "json":
        click.echo(json.dumps(results, indent=2))
    for result in results:
        if not result["ok"]:
            for line in result["faults"]:
                click.echo(f"{result['file']}: {line}", err=True)
        elif output == "text":
            click.echo(f"{result['file']}: ok")
    invalid = sum(1 for result in results if result["error"] == "invalid")
    unread = sum(1 for result in results if result["error"] == "unreadable")
    if invalid:
        count = f"{invalid} of {len(files)} profiles" if len(files) > 1 else "The profile"
        raise ProfileError(
            f"{count} {'is' if invalid == 1 else 'are'} invalid.", next_step="Correct what is named above."
        )
    if unread:
        raise UsageError(f"{unread} of {len(files)} files cannot be read.", next_step="Check the paths named above.")


@profile.command(short_help="Print a profile in its canonical form.")
@click.argument("name", required=False, metavar="[NAME|FILE]", shell_complete=offers.profiles)
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", help="Form of the profile.")
@click.option("--provenance", is_flag=True, help="Print where each fact came from, instead of the profile.")
def show(name: str | None, output: str, provenance: bool) -> None:
    """Print a profile in its canonical form: of that name, in that file, or the default one."""
    from devlink.agent.profiles import default_profile, load
    from devlink.cli.facts import facts_of, table
    from devlink.core import codec
    from devlink.core.profile_document import encode_profile

    wanted = default_profile() if name is None else load(name)
    if provenance:
        facts = list(facts_of(wanted))
        if output == "json":
            data = {key: {"value": value, "source": source} for key, value, source in facts}
            click.echo(json.dumps(data, indent=2, ensure_ascii=False))
        else:
            rows = ((key, value, source or "-") for key, value, source in facts)
            click.echo(table([("FACT", "VALUE", "SOURCE"), *rows]))
    elif output == "json":
        click.echo(json.dumps(codec.encode(wanted), indent=2, ensure_ascii=False))
    else:
        click.echo(encode_profile(wanted), nl=False)


@profile.command("list", short_help="List the known profiles; * marks the default.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", help="Form of the list.")
def list_(output: str) -> None:
    """List the profiles in the configuration folder and those that clusters gave; * marks the default."""
    from devlink.agent.config import config_folder
    from devlink.agent.profiles import default_name, known_profiles

    known = known_profiles()
    try:
        default = default_name(known)
    except UsageError as error:  # a broken config.toml is no reason to hide the profiles
        click.echo(str(error), err=True)
        default = None
    rows = [_row(one, default) for one in known]
    if output == "json":
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif output == "yaml":
        import yaml

        click.echo(yaml.safe_dump(rows, sort_keys=False, allow_unicode=True), nl=False)
    elif not rows:
        click.echo(f"No profile in {config_folder() / 'profiles'}, and none from a cluster.", err=True)
    else:
        click.echo(_table(rows))


@profile.command()
def schema() -> None:
    """Print the JSON Schema of a profile, for editors and for CI."""
    from devlink.core.profile_schema import schema as schema_of_profiles

    click.echo(json.dumps(schema_of_profiles(), indent=2))


def _validated(name: str) -> dict[str, Any]:
    from pathlib import Path

    from devlink.agent.profiles import read_profile
    from devlink.core.profile_document import MAX_BYTES, decode_profile

    shown = "<stdin>" if name == "-" else name
    try:
        if name == "-":
            decode_profile(sys.stdin.buffer.read(MAX_BYTES + 1))
        else:
            read_profile(Path(name))
    except ProfileError as error:
        return {"file": shown, "ok": False, "error": "invalid", "faults": list(error.faults)}
    except UsageError as error:
        return {"file": shown, "ok": False, "error": "unreadable", "faults": [f"cannot be read: {error.why}"]}
    return {"file": shown, "ok": True, "error": None, "faults": []}


def _row(known: KnownProfile, default: str | None) -> dict[str, Any]:
    return {
        "name": known.name,
        "default": known.name == default,
        "revision": known.profile.metadata.revision if known.profile else "",
        "file": str(known.path),
        "context": known.origin.context if known.origin else None,
        "fetched": known.fetched or None,
        "fault": known.fault,
    }


def _table(rows: list[dict[str, Any]]) -> str:
    header = ("", "NAME", "REVISION", "FROM")
    cells = [header] + [
        ("*" if row["default"] else "", row["name"], row["revision"] or "-", _from(row)) for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(3)]
    lines = []
    for line, fault in zip(cells, [None] + [row["fault"] for row in rows], strict=True):
        lines.append("  ".join([*(text.ljust(width) for text, width in zip(line, widths, strict=False)), line[3]]))
        if fault:
            lines.append(f"{'':{widths[0]}}  invalid: {fault}")
    return "\n".join(lines)


def _from(row: dict[str, Any]) -> str:
    if row["context"] is None:
        return str(row["file"])
    return f"the cluster of context {row['context']}, {duration(max(0.0, time.time() - row['fetched']))} ago"
