"""Text laid out for a width in cells."""

from hypothesis import given
from hypothesis import strategies as st

from devlink.tui.words.lines import Span, cells, cut, hanging, padded, plain, wrapped

TEXTS = st.text(alphabet=st.sampled_from("ab ,-網路é\u0301\x07\x1b\n\t"), max_size=60)


@given(st.lists(st.tuples(TEXTS, st.sampled_from(["", "code"])), max_size=4), st.integers(2, 30))
def test_no_line_is_wider_than_asked_for_and_no_word_is_lost(parts: list[tuple[str, str]], width: int) -> None:
    lines = wrapped([Span(*part) for part in parts], width)
    assert all(cells(plain([line])) <= width for line in lines)
    assert not any(plain([line]).endswith(" ") for line in lines)
    whole = "".join(text for text, _ in parts)
    kept = "".join("".join(plain(lines).split()))
    assert kept == "".join(c if c.isprintable() else "?" for c in whole if not c.isspace())


@given(TEXTS, st.integers(1, 30))
def test_a_padded_text_is_exactly_as_wide_as_asked_for(text: str, width: int) -> None:
    assert cells(padded(text, width)) == width


def test_a_letter_takes_one_cell_with_its_accent_and_two_where_it_is_wide() -> None:
    assert (cells("e\u0301a"), cells("網a")) == (2, 3)


def test_a_text_that_does_not_fit_ends_in_an_ellipsis_also_where_its_signs_are_wide() -> None:
    assert (cut("gateway", 7), cut("gateway", 6), cut("網路網路", 6)) == ("gateway", "gatew…", "網路…")


def test_further_lines_stand_below_the_first_ones_text() -> None:
    lines = hanging((Span("do   "),), "plug it in\nor not", 12)
    assert plain(lines) == "do   plug it\n     in\n     or not"


def test_a_tone_stays_with_its_words_where_the_line_is_broken() -> None:
    lines = wrapped([Span("say "), Span("devlink up", "code"), Span(".")], 11)
    assert lines == [(Span("say "), Span("devlink", "code")), (Span("up", "code"), Span("."))]
