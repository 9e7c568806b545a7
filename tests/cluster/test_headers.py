"""Who we are, as headers: no token can add a header of its own, and a token file is read each time."""

from pathlib import Path

import pytest

from devlink.cluster.access import Credentials
from devlink.cluster.headers import authorization, current_token
from devlink.errors import UsageError


@pytest.mark.parametrize("token", ["a\r\nX-Remote-User: admin", "a\nb", "é", "a\x00b", "a\x1bb"])
def test_a_token_that_no_header_can_carry_is_an_error_without_it(token: str) -> None:
    with pytest.raises(UsageError, match="damaged") as caught:
        authorization(Credentials(token=token))
    assert token not in f"{caught.value} {caught.value.why} {caught.value.next_step}"


def test_a_token_goes_before_a_password() -> None:
    both = Credentials(token="t", username="jane", password="p")
    assert authorization(both) == [(b"Authorization", b"Bearer t")]
    assert authorization(Credentials(username="jane", password="p")) == [(b"Authorization", b"Basic amFuZTpw")]
    assert authorization(Credentials()) == []


def test_a_token_file_is_read_anew_and_the_token_stands_in_where_it_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "token"
    credentials = Credentials(token="old", token_file=file)
    assert current_token(credentials) == "old"
    for rotated in ("first", "second"):
        file.write_text(f"{rotated}\n")
        assert current_token(credentials) == rotated
