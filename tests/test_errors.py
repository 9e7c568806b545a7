"""What an error says, in sentences that end once; and that each of them has a next step."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import devlink
from devlink.errors import BY_NAME, HelperError, ProtocolError, reason

PACKAGE = Path(devlink.__file__).parent
FOR_PEOPLE = frozenset(cls.__name__ for cls in BY_NAME.values()) - {"UnexpectedError", "ProtocolError"}
"""Without those that say that devlink itself, or one of another version, is at fault: they say what to report."""
FOR_PROGRAMS = {
    "helper/admission.py:check_name": "what no agent of ours asks for; the profile's own check came before",
    "helper/admission.py:check_form": "likewise",
    "helper/admission.py:_check_route": "likewise",
    "helper/admission.py:check_relay": "likewise",
    "helper/admission.py:_check_detours": "likewise",
    "helper/verbs.py:_confirm": "likewise",
    "helper/verbs.py:_release": "the agent, which asks, tells its user what came of it",
    "resolvers/files/__main__.py:nameserver": "what no helper of ours asks for",
    "resolvers/files/__main__.py:chosen": "likewise",
    "resolvers/files/__main__.py:write": "likewise",
    "resolvers/files/tools.py:_begin": "whoever asked is gone",
    "resolvers/files/worker.py:_stage": "whoever asked is gone",
}
"""Where a next step makes no sense: nobody reads it."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file or directory", "/run/x"), "No such file or directory."),
        (TimeoutError("timed out"), "timed out."),
        (TimeoutError(), "TimeoutError."),
        (ValueError("It ends by itself."), "It ends by itself."),
        (ProtocolError("It went away in the middle of a call."), "It went away in the middle of a call."),
        (HelperError("No.", why="Because.", next_step="Go."), "No. Because."),
    ],
)
def test_a_reason_is_whole_sentences_and_ends_once(error: Exception, said: str) -> None:
    assert reason(error) == said


def without_next_step(path: Path) -> Iterator[str]:
    """`file:function` of each error that is made without a next step, or with one that may be empty."""
    tree = ast.parse(path.read_text())
    inside = {
        child: function.name
        for function in ast.walk(tree)  # outer ones come first: the innermost stays
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.walk(function)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in FOR_PEOPLE:
            continue
        if any(each.arg is None for each in node.keywords):
            continue  # what came over a socket: it was made with one
        step = next((each.value for each in node.keywords if each.arg == "next_step"), ast.Constant(""))
        choices = [step]
        while any(isinstance(each, ast.IfExp) for each in choices):
            choices = [
                branch
                for each in choices
                for branch in ((each.body, each.orelse) if isinstance(each, ast.IfExp) else (each,))
            ]
        if any(isinstance(each, ast.Constant) and not each.value for each in choices):
            yield f"{path.relative_to(PACKAGE)}:{inside.get(node, '')}"


@pytest.mark.slow
def test_each_error_that_a_person_may_read_has_a_next_step() -> None:
    files = (file for file in sorted(PACKAGE.rglob("*.py")) if file.parent != PACKAGE / "lab")
    assert {place for file in files for place in without_next_step(file)} == FOR_PROGRAMS.keys()


@pytest.mark.parametrize(
    ("made", "lacks"),
    [
        ("UsageError('What.')", True),
        ("UsageError('What.', next_step='')", True),
        ("UsageError('What.', next_step='Go.' if well else '')", True),
        ("UsageError('What.', next_step=step[0])", False),
        ("UsageError('What.', next_step='Go.' if well else f'{go} away')", False),
        ("ValueError('What.')", False),
    ],
)
def test_the_walk_finds_what_has_none(made: str, lacks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    (tmp_path / "x.py").write_text(f"def outer():\n    def inner():\n        return {made}\n")
    assert list(without_next_step(tmp_path / "x.py")) == (["x.py:inner"] if lacks else [])
