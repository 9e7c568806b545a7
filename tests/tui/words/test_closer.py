"""What is said of a finding, of doctor's checks and of the way to a name."""

from typing import Any

from devlink.core.codec import decode
from devlink.core.findings import Finding
from devlink.doctor.reference import sections
from devlink.tui.records import AgentStatus, Examined, Explained
from devlink.tui.words import closer
from devlink.tui.words.lines import Line, cells, plain
from tests.tui.scripted import check, examined, explained, finding, link, session, status

WIDTH = 50


def found(**changes: Any) -> Finding:
    return decode(Finding, finding(**changes))


def tones(lines: list[Line]) -> set[str]:
    return {span.tone for line in lines for span in line}


def test_findings_of_all_sessions_stand_the_gravest_first() -> None:
    told = status(
        session("a", findings=[finding("DL-1", "info"), finding("DL-2", "error")]),
        session("b", findings=[finding("DL-3", "warning"), finding("DL-4", "error")]),
    )
    ranked = closer.gravest_first(decode(AgentStatus, told["status"]))
    assert [(name, each.code) for name, each in ranked] == [("a", "DL-2"), ("b", "DL-4"), ("b", "DL-3"), ("a", "DL-1")]
    assert closer.counted(each for _, each in ranked) == "2 errors, 1 warning, 1 note"


def test_a_finding_has_its_sign_severity_title_code_and_what_to_do() -> None:
    text = plain(closer.finding_lines(found(evidence="one\ntwo"), ("qa", "b"), 90))
    assert text.startswith("! warning  Packets go by 172.16.0.14")
    assert "[DL-FAILED-OVER] (qa, b)" in text.replace("\n           ", " ")
    assert "\nseen one\n     two\ndo   to go back: devlink failover 172.16.0.13" in text


def test_where_lines_are_few_what_to_do_stays_and_what_was_seen_goes() -> None:
    finding = found(evidence="a\nb\nc", fix="do this\nthen that")
    for height, text in ((5, "abcdo this"), (3, "ado thisthen that"), (2, "ado this"), (1, "do this")):
        lines = closer.advice_lines(finding, WIDTH, height)
        said = "".join("".join(span.text for span in line) for line in lines).replace("seen ", "").replace("do   ", "")
        assert "".join(said.split("     ")).startswith(text), height
        assert len(lines) == height


def test_the_reference_is_laid_out_without_marks_of_markdown_and_loses_no_word() -> None:
    for section in sections():
        lines = closer.reference_lines(section.text, WIDTH)
        text = plain(lines)
        assert "**" not in text
        assert "`" not in text
        assert max(cells(line) for line in text.split("\n")) <= WIDTH
        wanted = section.text.replace("`", "").replace("**Look**:", "Look").replace("**Cure**:", "Cure")
        assert "".join(text.split()) == "".join(wanted.replace("\n- ", "\n").split()), section.code
        assert tones(lines) <= {"", "strong", "code"}


def test_a_page_names_the_command_that_is_copied_only_where_there_is_one() -> None:
    assert "y    copies devlink up" in plain(closer.page_lines(found(), "qa", "What it means.", "devlink up", WIDTH))
    assert "copies" not in plain(closer.page_lines(found(fix=""), "qa", "What it means.", "", WIDTH))
    assert plain(closer.page_lines(None, "", "What it means.", "", WIDTH)) == "What it means."


# Doctor


def test_doctor_concludes_with_the_gravest_and_says_whom_it_looked_at() -> None:
    told = closer.examined_told(decode(Examined, examined()))
    assert (told.tone, told.text) == ("error", "1 error, 1 warning.")
    assert told.next_step == "Looked at this laptop and qa, b (not up)."
    well = closer.examined_told(decode(Examined, examined(findings=[], profiles=[])))
    assert (well.tone, well.text) == ("ok", "Nothing is wrong that could be seen.")


def test_doctors_findings_stand_the_gravest_first_with_whose_they_are_where_several_were_looked_at() -> None:
    ranked = closer.found_lines(decode(Examined, examined()))
    assert [(each.code, whose) for each, whose in ranked] == [("DL-R1-OFFLINK", ("qa",)), ("DL-FAILED-OVER", ("b",))]
    alone = closer.found_lines(decode(Examined, examined(profiles=[{"name": "qa", "up": True}])))
    assert all(whose == () for _, whose in alone)


def test_checks_are_lines_with_a_sign_grouped_by_whose_they_are() -> None:
    text = plain(closer.check_lines(decode(Examined, examined()).checks, WIDTH)).split("\n")
    assert [text[0], *(line for line, before in zip(text[1:], text, strict=False) if before == "")] == [
        "This laptop", "qa", "b",
    ]  # fmt: skip
    assert "✓ helper    answers" in text
    assert "✗ routes    next hop is elsewhere" in text
    assert "- names     not judged: routes comes first" in text


def test_checks_with_texts_of_any_length_stay_within_the_width() -> None:
    odd = decode(Examined, examined(checks=[check("c" * 255, "s" * 255, seen="\x1b[2J" + "t" * 255)]))
    text = plain(closer.check_lines(odd.checks, WIDTH))
    assert max(cells(line) for line in text.split("\n")) <= WIDTH
    assert "\x1b" not in text


# Explain


def test_a_broken_way_is_marked_at_its_first_broken_link_only() -> None:
    lines = plain(closer.link_lines(decode(Explained, explained()), 60)).split("\n")
    assert lines[1].split()[:3] == ["2", "✓", "10.254.3.7"]
    assert lines[2].startswith(" 3 ✗ route")
    assert lines[3].strip() == "━━ broken here ━━"
    assert sum("broken here" in line for line in lines) == 1
    assert lines[4].strip().startswith("Packets go by")
    assert any(line.startswith("     do   to go back: devlink failover") for line in lines)


def test_the_conclusion_claims_no_more_than_was_seen() -> None:
    def concluded(**changes: Any) -> tuple[str, str]:
        told = closer.explained_told(decode(Explained, explained(**changes)))
        return told.tone, told.text

    well = [link("name"), link("data")]
    assert concluded() == ("error", "The way is broken at: route.")
    assert concluded(whole=True, links=well, findings=[]) == ("ok", "The way is whole.")
    half = ("info", "Nothing is broken, as far as it could be seen.")
    assert concluded(whole=True, links=well) == half
    assert concluded(whole=True, links=[link("name"), link("data", outcome="skipped")], findings=[]) == half
    assert concluded(whole=False, links=well, findings=[])[1] == "The way is broken."


def test_links_with_texts_of_any_length_stay_within_the_width() -> None:
    odd = [link("address", about="f" * 255, seen="\x1b]0;" + "t" * 255, outcome="error", finding="DL-FAILED-OVER")]
    text = plain(closer.link_lines(decode(Explained, explained(links=odd)), WIDTH))
    assert max(cells(line) for line in text.split("\n")) <= WIDTH
    assert "\x1b" not in text
