"""stdout is data: the same data whole, as JSON and as YAML; spans as people say them."""

import json
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from devlink.cli.output import emit, output_option

# PyYAML itself does not read back an exotic line break (U+0085) that stands alone.
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Zl", "Zp"]))
trees = st.dictionaries(
    texts,
    st.recursive(
        st.none() | st.booleans() | st.integers() | texts,
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)


@given(data=trees)
def test_what_is_emitted_reads_back_as_it_was(data: dict[str, Any]) -> None:
    for output, read in (("json", json.loads), ("yaml", yaml.safe_load)):

        @click.command()
        def command(output: str = output) -> None:
            emit(data, output)

        assert read(CliRunner().invoke(command, []).stdout_bytes.decode()) == data


def test_the_order_is_kept_and_nothing_is_escaped_that_a_person_can_read(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"zebra": "ü", "ant": [1, 2]}
    emit(data, "yaml")
    assert capsys.readouterr().out.startswith("zebra: ü\n")
    emit(data, "json")
    assert capsys.readouterr().out.startswith('{\n  "zebra": "ü"')


def test_the_option_takes_its_formats_and_refuses_others() -> None:
    @click.command()
    @output_option("json")
    def command(output: str) -> None:
        click.echo(output)

    assert CliRunner().invoke(command, []).stdout == "text\n"
    assert CliRunner().invoke(command, ["-o", "json"]).stdout == "json\n"
    assert CliRunner().invoke(command, ["-o", "yaml"]).exit_code == 2
