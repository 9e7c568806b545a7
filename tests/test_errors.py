"""What an error says, in sentences that end once."""

import pytest

from devlink.errors import HelperError, ProtocolError, reason


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
