"""docs/configuration.md says what the code says."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from devlink.agent.config import Config
from devlink.core.codec import decode, field_types
from devlink.core.names import DomainName
from devlink.helper.policy import Policy
from tests.cli import reference


@dataclasses.dataclass(frozen=True)
class Silent:
    number: int = 0


PAGE = Path(__file__).parents[2] / "docs" / reference.NAME


def test_the_page_is_what_the_code_says_now() -> None:
    assert PAGE.read_text("utf-8") == reference.document(), "`make reference` writes it anew"


def test_every_table_of_settings_is_there_whole() -> None:
    named = {cls for _, _, tables in reference.CHAPTERS for _, cls in tables}
    for cls in named:
        for kind in field_types(cls).values():
            inner = reference._inner(kind)
            assert inner in named or inner is DomainName or not dataclasses.is_dataclass(inner), (
                f"{inner} is in no chapter"
            )


@pytest.mark.parametrize(("heading", "cls"), [("config.toml", Config), ("policy.toml", Policy)])
def test_the_samples_of_the_page_are_taken(heading: str, cls: type) -> None:
    chapter = PAGE.read_text("utf-8").split(f"## {heading}\n")[1]
    sample = re.search("```toml\n(.*?)```", chapter, re.DOTALL)
    assert sample is not None
    assert decode(cls, tomllib.loads(sample[1])) != cls()


def test_a_field_without_words_is_no_reference() -> None:
    with pytest.raises(ValueError, match=r"Silent\.number has no words"):
        reference._table(Silent)
