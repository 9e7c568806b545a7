"""The API over a real connection: who we are, what is checked, what is bounded, and what errors say."""

import asyncio
import base64
import contextlib
import datetime
import gzip
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from devlink.cluster import api as module
from devlink.cluster.access import Access, Credentials, ExecPlugin
from devlink.cluster.answers import expired
from devlink.cluster.api import Api
from devlink.errors import ClusterError, UsageError
from tests.certificates import Authority
from tests.cluster.fake_api import AUTHORITY, Answer, Asked, serving

T = TypeVar("T")
PATH = "/api/v1/nodes"


def ask(access: Access, use: Callable[[Api], Awaitable[T]], environ: Mapping[str, str] | None = None, **how: Any) -> T:
    async def main() -> T:
        async with asyncio.timeout(20), Api(access, environ=environ or {}, **how) as api:
            return await use(api)

    return asyncio.run(main())


def get(api: Api) -> Awaitable[dict[str, Any]]:
    return api.get(PATH)


def always(answer: Answer) -> Callable[[Asked], Answer]:
    return lambda _: answer


def status(code: int, message: str) -> Answer:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
    return Answer(status=code, body=body)


# Who we are


def test_a_token_is_sent_and_a_token_file_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with serving(always(Answer()), tmp_path) as server:

        async def twice(api: Api) -> None:
            for text in ("one\n", "two\n"):
                file.write_text(text)
                await api.get(PATH)

        ask(server.access(credentials=Credentials(token="t")), get)
        ask(server.access(credentials=Credentials(token="old", token_file=file)), twice)
        file.unlink()
        ask(server.access(credentials=Credentials(token="old", token_file=file)), get)
        sent = [each.headers.get("authorization") for each in server.asked]
    assert sent == ["Bearer t", "Bearer one", "Bearer two", "Bearer old"]


def test_basic_impersonation_and_our_own_name_are_sent(tmp_path: Path) -> None:
    credentials = Credentials(username="alice", password="pw", impersonate={"Impersonate-User": ("bob",)})
    with serving(always(Answer()), tmp_path) as server:
        ask(server.access(credentials=credentials), get)
        headers = server.asked[0].headers
    assert headers["authorization"] == "Basic YWxpY2U6cHc="
    assert headers["impersonate-user"] == "bob"
    assert headers["user-agent"].startswith("devlink/")


def test_a_client_certificate_shows_who_we_are_and_its_key_is_in_no_file(tmp_path: Path) -> None:
    issued = AUTHORITY.issue(subject="alice")
    credentials = Credentials(certificate=issued.certificate, key=issued.key)
    with serving(always(Answer()), tmp_path) as server:
        ask(server.access(credentials=credentials), get)
        assert server.asked[0].user == "alice"
    assert not any("PRIVATE KEY" in path.read_text() for path in tmp_path.iterdir() if path.name != "server.pem")


@pytest.mark.parametrize("key", ["", Authority.another().issue(subject="x").key])
def test_a_client_certificate_that_does_not_fit_its_key_is_named(key: str) -> None:
    credentials = Credentials(certificate=AUTHORITY.issue(subject="alice").certificate, key=key)
    with pytest.raises(UsageError, match="client certificate of qa") as caught:
        ask(Access(name="qa", server="https://127.0.0.1:1", ca=AUTHORITY.pem, credentials=credentials), get)
    assert "PRIVATE KEY" not in str(caught.value)


def test_a_401_has_the_plugin_asked_anew_once(tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = f"""echo x >>{count}; printf '{{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1",'
printf '"status":{{"token":"t%s"}}}}' "$(wc -l <{count})" """
    plugin = ExecPlugin(
        api_version="client.authentication.k8s.io/v1", command="/bin/sh", args=("-c", script), interactive_mode="Never"
    )

    def respond(asked: Asked) -> Answer:
        return Answer() if asked.headers["authorization"] == "Bearer t2" else status(401, "Unauthorized")

    with serving(respond, tmp_path) as server:
        access = server.access(credentials=Credentials(plugin=plugin))
        for _ in range(2):
            ask(access, get, {"PATH": "/usr/bin:/bin"})
    assert count.read_text() == "x\n" * 2, "the second one is kept"


def test_many_requests_at_once_ask_one_program_once(tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = f"""echo x >>{count}; sleep 0.05; printf '{{"kind":"ExecCredential",'
printf '"apiVersion":"client.authentication.k8s.io/v1beta1","status":{{"token":"t"}}}}'"""
    plugin = ExecPlugin(api_version="client.authentication.k8s.io/v1beta1", command="/bin/sh", args=("-c", script))

    async def many(api: Api) -> None:
        await asyncio.gather(*(api.get(PATH) for _ in range(4)))

    with serving(always(Answer()), tmp_path) as server:
        ask(server.access(credentials=Credentials(plugin=plugin)), many, {"PATH": "/usr/bin:/bin"})
        assert len(server.asked) == 4
    assert count.read_text() == "x\n"


def test_whom_one_acts_for_may_have_any_name_and_several_groups(tmp_path: Path) -> None:
    acting = {"Impersonate-User": ("Jürgen",), "Impersonate-Group": ("a", "b")}
    with serving(always(Answer()), tmp_path) as server:
        ask(server.access(credentials=Credentials(impersonate=acting)), get)
        headers = server.asked[0].headers
    assert headers["impersonate-user"].encode("latin-1").decode() == "Jürgen"
    assert headers["impersonate-group"] == "b", "the fake keeps the last of several"


def token(**claims: Any) -> str:
    """A JWT that nobody has signed."""
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims))
    return ".".join((*parts, "signature"))


@pytest.mark.parametrize(
    ("credentials", "why"),
    [
        (Credentials(token=token(exp=0)), "Your token expired at 1970-01-01 00:00 UTC."),
        (Credentials(token=token(exp=4e9)), "wrong or expired"),
        (Credentials(token=token(exp="soon")), "wrong or expired"),
        (Credentials(token=token(exp=1e300)), "wrong or expired"),
        (Credentials(token="a.b.c"), "wrong or expired"),
        (Credentials(), "wrong or expired"),
    ],
)
def test_a_401_says_so_where_a_token_is_past_its_time(tmp_path: Path, credentials: Credentials, why: str) -> None:
    with (
        serving(always(status(401, "Unauthorized")), tmp_path) as server,
        pytest.raises(ClusterError, match="does not know who you are") as caught,
    ):
        ask(server.access(credentials=credentials), get)
    assert why in caught.value.why
    assert "devlink login" in caught.value.next_step


def test_a_certificate_that_is_past_its_time_is_named_where_the_api_only_says_unauthorized() -> None:
    issued = AUTHORITY.issue(subject="alice", expired=True)
    now = datetime.datetime.now(datetime.UTC)
    assert "client certificate expired at" in expired(Credentials(certificate=issued.certificate, key=issued.key), now)
    assert expired(Credentials(certificate="damaged"), now) == ""


# What is checked


def test_the_server_is_checked_by_ca_name_and_time(tmp_path: Path) -> None:
    cases = {
        "another CA": (Authority.another().issue("127.0.0.1"), {}, "certificate-authority"),
        "another name": (AUTHORITY.issue("api.example.com"), {}, "tls-server-name"),
        "expired": (AUTHORITY.issue("127.0.0.1", expired=True), {}, "clock"),
        "not the name asked for": (None, {"server_name": "api.example.com"}, "tls-server-name"),
    }
    for issued, changes, step in cases.values():
        with serving(always(Answer()), tmp_path, issued) as server:
            with pytest.raises(ClusterError, match="not the one that it must be") as caught:
                ask(server.access(credentials=Credentials(token="s3cret"), **changes), get)
            assert step in caught.value.next_step
            assert caught.value.status is None
            assert server.asked == [], "nothing was sent"


def test_a_server_of_another_name_is_found_by_tls_server_name(tmp_path: Path) -> None:
    with serving(always(Answer()), tmp_path, AUTHORITY.issue("api.example.com")) as server:
        assert ask(server.access(server_name="api.example.com"), get) == {}


def test_a_name_that_stands_in_the_subject_only_is_none(tmp_path: Path) -> None:
    with (
        serving(always(Answer()), tmp_path, AUTHORITY.issue(subject="localhost")) as server,
        pytest.raises(ClusterError, match="not the one that it must be"),
    ):
        ask(server.access(server=f"https://localhost:{server.port}"), get)


def test_the_servers_own_certificate_may_stand_for_its_ca(tmp_path: Path) -> None:
    """As with kubectl: what the kubeconfig names is trusted, though another has signed it."""
    issued = AUTHORITY.issue("127.0.0.1")
    with serving(always(Answer()), tmp_path, issued) as server:
        assert ask(server.access(ca=issued.certificate), get) == {}


def test_insecure_checks_nothing_and_the_systems_store_is_asked_without_a_ca(tmp_path: Path) -> None:
    with serving(always(Answer()), tmp_path, Authority.another().issue("other.example.com")) as server:
        assert ask(server.access(ca=None, insecure=True), get) == {}
        with pytest.raises(ClusterError, match="not the one that it must be"):
            ask(server.access(ca=None), get)


def test_a_ca_that_is_none_is_named() -> None:
    with pytest.raises(UsageError, match="CA of qa is damaged"):
        ask(Access(name="qa", server="https://127.0.0.1:1", ca="nonsense"), get)


# What is bounded


def test_the_time_holds_for_an_answer_that_drips(tmp_path: Path) -> None:
    with serving(always(Answer(parts=(b" ",) * 1000, pause=0.02)), tmp_path) as server:
        began = time.monotonic()
        with pytest.raises(ClusterError, match=r"does not answer within 0\.2 s"):
            ask(server.access(), get, timeout=0.2)
        assert time.monotonic() - began < 10, "a thousand drops would take twenty seconds"


def test_an_answer_is_read_up_to_its_limit_also_unpacked(tmp_path: Path) -> None:
    bomb = Answer(body=b'"' + b"x" * 50_000_000 + b'"', packed=True)
    for answer in (bomb, Answer(body=b" " * 200_000)):
        with (
            serving(always(answer), tmp_path) as server,
            pytest.raises(ClusterError, match="larger than 100000 octets"),
        ):
            ask(server.access(), lambda api: api.get(PATH, limit=100_000))


def test_an_answer_packed_many_times_is_not_unpacked_whole(tmp_path: Path) -> None:
    body = gzip.compress(gzip.compress(b"x" * 50_000_000))
    answer = Answer(body=body, headers={"Content-Encoding": "gzip, gzip"})
    with serving(always(answer), tmp_path) as server, pytest.raises(ClusterError, match="larger than 100000 octets"):
        ask(server.access(), lambda api: api.get(PATH, limit=100_000))


def test_a_packed_answer_that_is_damaged_is_told(tmp_path: Path) -> None:
    answer = Answer(body=b"no gzip", headers={"Content-Encoding": "gzip"})
    with serving(always(answer), tmp_path) as server, pytest.raises(ClusterError, match="cannot be reached"):
        ask(server.access(), get)


def test_packed_answers_are_asked_for_and_unpacked(tmp_path: Path) -> None:
    with serving(always(Answer(body={"a": 1}, packed=True)), tmp_path) as server:
        assert ask(server.access(), get) == {"a": 1}
        assert "gzip" in server.asked[0].headers["accept-encoding"]


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b"", b"[" * 100_000])
def test_what_is_no_object_is_no_api(tmp_path: Path, body: bytes) -> None:
    with (
        serving(always(Answer(body=body)), tmp_path) as server,
        pytest.raises(ClusterError, match="is no Kubernetes API"),
    ):
        ask(server.access(), get)


# What errors say


@pytest.mark.parametrize(
    ("answer", "what", "why"),
    [
        (status(401, "Unauthorized"), "does not know who you are", "expired"),
        (status(403, 'nodes is forbidden: User "a" cannot list'), "does not allow", 'User "a" cannot list'),
        (status(404, "the server could not find"), "has no /api/v1/nodes", "could not find"),
        (status(409, "conflict with manager kubectl"), "something else", "manager kubectl"),
        (status(410, "too old"), "has forgotten", "too old"),
        (status(500, "etcd\x1b[31m is\nunhappy" + "!" * 1000), "status 500", "etcd [31m is unhappy!!!"),
        (Answer(status=302, headers={"Location": "https://login.example.com"}), "sends us elsewhere", "login page"),
        (Answer(status=502, body=b"<html>Bad Gateway</html>"), "status 502", "Bad Gateway"),
    ],
)
def test_a_refusal_is_told_in_the_apis_words_and_with_its_status(
    tmp_path: Path, answer: Answer, what: str, why: str
) -> None:
    with serving(always(answer), tmp_path) as server, pytest.raises(ClusterError) as caught:
        ask(server.access(), get)
    error = caught.value
    assert error.status == answer.status
    assert what in error.what
    assert why in error.why
    assert len(error.why) < 400
    assert error.why.isprintable()


def test_a_redirect_is_not_followed_with_our_credentials(tmp_path: Path) -> None:
    with serving(always(Answer(status=307, headers={"Location": "/elsewhere"})), tmp_path) as server:
        with pytest.raises(ClusterError, match="elsewhere"):
            ask(server.access(credentials=Credentials(token="t")), get)
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("server", "why"),
    [("https://127.0.0.1:1", "127.0.0.1:1"), ("https://nowhere.invalid:6443", "cannot be resolved")],
)
def test_a_server_that_is_not_there_is_told_apart(server: str, why: str) -> None:
    with pytest.raises(ClusterError, match="cannot be reached") as caught:
        ask(Access(name="qa", server=server, ca=AUTHORITY.pem), get)
    assert why in caught.value.why
    assert caught.value.status is None


@pytest.mark.parametrize(
    ("greeting", "why", "step"),
    [
        (b"220 mail.example.com\r\n", "does not speak TLS", "is this the server"),
        (b"", "breaks the TLS handshake off", "is this the server"),
        # an alert, fatal: bad_certificate (RFC 8446 section 6)
        (b"\x15\x03\x03\x00\x02\x02\x2a", "refuses our side of TLS", "client-certificate"),
    ],
)
def test_a_server_whose_tls_fails_is_told_by_how(greeting: bytes, why: str, step: str) -> None:
    async def main() -> None:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(65536)
            writer.write(greeting)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, Api(Access(name="qa", server=f"https://127.0.0.1:{port}"), environ={}) as api:
            with pytest.raises(ClusterError, match="cannot be reached") as caught:
                await api.get(PATH)
        assert why in caught.value.why
        assert step in caught.value.next_step

    asyncio.run(main())


# Again


def test_a_connection_that_the_server_had_closed_costs_a_get_nothing_and_a_write_is_not_repeated(
    tmp_path: Path,
) -> None:
    answers = [Answer(cut=True), Answer(body={"a": 1}), Answer(cut=True)]
    with serving(lambda _: answers.pop(0), tmp_path) as server:
        assert ask(server.access(), get) == {"a": 1}
        with pytest.raises(ClusterError):
            ask(server.access(), lambda api: api.create(PATH, {}))
        assert [asked.method for asked in server.asked] == ["GET", "GET", "POST"]


def test_a_server_that_says_later_is_waited_for(tmp_path: Path) -> None:
    answers = [
        Answer(status=429, headers={"Retry-After": "0"}),
        Answer(status=503, headers={"Retry-After": "0"}),
        Answer(),
    ]
    with serving(lambda _: answers.pop(0), tmp_path) as server:
        assert ask(server.access(), get) == {}


def test_a_server_that_says_much_later_or_later_for_ever_is_not_waited_for(tmp_path: Path) -> None:
    for seconds, times in (("60", 1), ("0", 3), ("soon", 1)):
        answer = Answer(status=429, headers={"Retry-After": seconds})
        with serving(always(answer), tmp_path) as server:
            with pytest.raises(ClusterError, match="too busy") as caught:
                ask(server.access(), get)
            assert (caught.value.status, len(server.asked)) == (429, times)


@pytest.mark.slow
def test_the_time_is_one_for_all_tries_of_a_request(tmp_path: Path) -> None:
    drips = Answer(parts=(b" ",) * 1000, pause=0.02)
    answers = [Answer(cut=True), Answer(status=503, headers={"Retry-After": "1"}), drips]
    with serving(lambda _: answers.pop(0), tmp_path) as server:
        began = time.monotonic()
        with pytest.raises(ClusterError, match=r"within 1\.2 s"):
            ask(server.access(), get, timeout=1.2)
        assert len(server.asked) == 3
    assert time.monotonic() - began < 2.1, "the last try had 0.2 s, not another 1.2 s"


def test_a_server_that_speaks_tls_and_is_asked_in_the_clear_is_told_apart(tmp_path: Path) -> None:
    async def main() -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            said = b"Client sent an HTTP request to an HTTPS server.\n"
            writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n" + said)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, Api(Access(name="qa", server=f"http://127.0.0.1:{port}"), environ={}) as api:
            with pytest.raises(ClusterError, match="speaks TLS") as caught:
                await api.get(PATH)
            assert f"https://127.0.0.1:{port}" in caught.value.next_step

    asyncio.run(main())


# Lists, writes, watches


def listed(*names: str, token: str = "") -> Answer:
    items = [{"metadata": {"name": name}} for name in names]
    return Answer(body={"kind": "NodeList", "apiVersion": "v1", "metadata": {"continue": token}, "items": items})


async def all_of(api: Api) -> list[dict[str, Any]]:
    return [item async for item in api.items(PATH, {"labelSelector": "a=b"}, page=2)]


def test_a_list_comes_by_pages_with_the_kind_of_each_object(tmp_path: Path) -> None:
    pages = {"": listed("a", "b", token="2"), "2": listed("c")}
    with serving(lambda asked: pages[asked.params.get("continue", "")], tmp_path) as server:
        found = ask(server.access(), all_of)
        assert [dict(each.params) for each in server.asked] == [
            {"labelSelector": "a=b", "limit": "2"}, {"labelSelector": "a=b", "limit": "2", "continue": "2"},
        ]  # fmt: skip
        assert server.connections == 1
    assert found == [{"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}} for name in "abc"]


def test_a_list_whose_rest_is_gone_is_read_again_and_gives_nothing_twice(tmp_path: Path) -> None:
    answers = [listed("a", "b", token="2"), status(410, "expired"), listed("b", "c", token="3"), listed("d")]
    with serving(lambda _: answers.pop(0), tmp_path) as server:
        assert [item["metadata"]["name"] for item in ask(server.access(), all_of)] == ["a", "b", "c", "d"]


def test_a_list_that_cannot_be_finished_says_so(tmp_path: Path) -> None:
    answers = [listed("a", token="2"), status(410, "x"), listed("a", token="2"), status(410, "x")]
    with serving(lambda _: answers.pop(0), tmp_path) as server, pytest.raises(ClusterError) as caught:
        ask(server.access(), all_of)
    assert caught.value.status == 410


def test_a_list_without_end_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PAGES", 5)
    with (
        serving(always(listed("a", token="again")), tmp_path) as server,
        pytest.raises(ClusterError, match="without an end"),
    ):
        ask(server.access(), all_of)


@pytest.mark.parametrize("body", [{"items": 7}, {"items": [7, {"metadata": 7}]}, {"metadata": [], "kind": 7}])
def test_a_list_that_is_none_harms_nobody(tmp_path: Path, body: dict[str, Any]) -> None:
    with serving(always(Answer(body=body)), tmp_path) as server:
        assert all("name" not in item for item in ask(server.access(), all_of))


def test_apply_and_create_say_what_they_are(tmp_path: Path) -> None:
    async def write(api: Api) -> None:
        await api.apply("/x", {"a": 1}, manager="devlink")
        await api.apply("/x", {"a": 1}, manager="devlink", force=True, dry_run=True)
        await api.create("/y", {"b": 2}, {"dryRun": "All"})

    with serving(always(Answer(status=201)), tmp_path) as server:
        ask(server.access(), write)
        first, second, third = server.asked
    assert (first.method, dict(first.params)) == ("PATCH", {"fieldManager": "devlink", "force": "false"})
    assert first.headers["content-type"] == "application/apply-patch+yaml"
    assert dict(second.params) == {"fieldManager": "devlink", "force": "true", "dryRun": "All"}
    assert (third.method, dict(third.params), json.loads(third.body)) == ("POST", {"dryRun": "All"}, {"b": 2})


def event(kind: str, version: str) -> bytes:
    body = {"type": kind, "object": {"kind": "Node", "metadata": {"name": "a", "resourceVersion": version}}}
    return json.dumps(body).encode() + b"\n"


def watched(access: Access, count: int, seconds: float = 10.0, since: str = "1") -> list[tuple[str, str]]:
    async def take(api: Api) -> list[tuple[str, str]]:
        found = []
        events = api.watch(PATH, {"fieldSelector": "x"}, resource_version=since, seconds=seconds)
        async for kind, item in events:
            found.append((kind, item["metadata"]["resourceVersion"]))
            if len(found) == count:
                break
        await events.aclose()  # type: ignore[attr-defined]
        return found

    return ask(access, take)


def test_a_broken_watch_is_taken_up_where_it_was_bookmarks_included(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESUME_PAUSE", 0.001)
    answers = [
        Answer(parts=(event("MODIFIED", "2")[:20], event("MODIFIED", "2")[20:] + event("BOOKMARK", "5")), cut=True),
        Answer(parts=(event("BOOKMARK", "7"),)),
        Answer(cut=True),
        Answer(parts=(event("DELETED", "8"),)),
    ]
    with serving(lambda _: answers.pop(0), tmp_path) as server:
        assert watched(server.access(), 2) == [("MODIFIED", "2"), ("DELETED", "8")]
        assert [each.params["resourceVersion"] for each in server.asked] == ["1", "5", "7", "7"]
        assert server.asked[0].params["allowWatchBookmarks"] == "true"
        assert int(server.asked[0].params["timeoutSeconds"]) <= 10


def test_a_watch_from_too_long_ago_says_so(tmp_path: Path) -> None:
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old resource version"}}
    for answer in (Answer(body=json.dumps(gone).encode() + b"\n"), status(410, "too old")):
        with serving(always(answer), tmp_path) as server, pytest.raises(ClusterError) as caught:
            watched(server.access(), 1)
        assert caught.value.status == 410


def test_a_watch_of_what_is_there_now_begins_anew_where_its_edition_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESUME_PAUSE", 0.001)
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old resource version"}}
    answers = [
        Answer(parts=(event("ADDED", "3"),), cut=True),
        Answer(body=json.dumps(gone).encode() + b"\n"),
        Answer(parts=(event("ADDED", "9"),)),
    ]
    with serving(lambda _: answers.pop(0), tmp_path) as server:
        assert watched(server.access(), 2, since=module.FROM_NOW) == [("ADDED", "3"), ("ADDED", "9")]
        assert [each.params["resourceVersion"] for each in server.asked] == ["0", "3", "0"]


def test_a_watch_that_has_to_begin_anew_again_and_again_takes_longer_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    turn = asyncio.sleep

    async def sleep(delay: float) -> None:
        slept.append(delay)
        await turn(0)

    monkeypatch.setattr("devlink.cluster.api.asyncio.sleep", sleep)
    monkeypatch.setattr("devlink.cluster.api.random.uniform", lambda a, b: 1.0)
    answers = [Answer(parts=(event("ADDED", "3"),), cut=True), status(410, "too old")] * 4 + [
        Answer(parts=(event("DELETED", "9"),))
    ]
    with serving(lambda _: answers.pop(0), tmp_path) as server:
        assert watched(server.access(), 5, seconds=600, since=module.FROM_NOW)[-1] == ("DELETED", "9")
    anew = [delay for delay in slept if delay >= module.RESUME_PAUSE][1::2]
    assert anew == [1.0, 2.0, 4.0, 8.0]


def test_a_watch_that_is_not_allowed_ends_at_once(tmp_path: Path) -> None:
    with serving(always(status(403, "forbidden")), tmp_path) as server, pytest.raises(ClusterError) as caught:
        watched(server.access(), 1)
    assert caught.value.status == 403


def test_a_watch_that_never_stood_and_one_whose_server_is_another_now_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESUME_PAUSE", 0.001)
    with pytest.raises(ClusterError, match="cannot be reached"):
        watched(Access(name="qa", server="https://127.0.0.1:1", ca=AUTHORITY.pem), 1)
    with (
        serving(always(Answer()), tmp_path, Authority.another().issue("127.0.0.1")) as server,
        pytest.raises(ClusterError, match="not the one that it must be"),
    ):
        watched(server.access(), 1)


def test_a_watch_outlives_a_server_that_fails_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESUME_PAUSE", 0.001)
    answers = [Answer(parts=(event("BOOKMARK", "5"),)), status(503, "starting"), Answer(parts=(event("ADDED", "6"),))]
    with serving(lambda _: answers.pop(0), tmp_path) as server:
        assert watched(server.access(), 1) == [("ADDED", "6")]


def test_a_watch_whose_credentials_are_over_asks_the_program_anew(tmp_path: Path) -> None:
    script = """printf '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1beta1",'
printf '"status":{"token":"%s"}}' "$(date +%N)$$" """
    plugin = ExecPlugin(api_version="client.authentication.k8s.io/v1beta1", command="/bin/sh", args=("-c", script))
    refused: list[str] = []

    def respond(asked: Asked) -> Answer:
        sent = asked.headers["authorization"]
        if not refused:
            refused.append(sent)
            return status(401, "Unauthorized")
        assert sent not in refused
        return Answer(parts=(event("ADDED", "2"),))

    with serving(respond, tmp_path) as server:
        access = server.access(credentials=Credentials(plugin=plugin))

        async def first(api: Api) -> str:
            events = api.watch(PATH, resource_version="1", seconds=10)
            async with contextlib.aclosing(events) as found:  # type: ignore[type-var]
                async for kind, _ in found:
                    return kind
            return ""

        assert ask(access, first, {"PATH": "/usr/bin:/bin"}) == "ADDED"


def test_an_event_that_is_none_is_told(tmp_path: Path) -> None:
    for text, said in (
        (b"7\n", "no Kubernetes"),
        (b'{"type":"ADDED"}\n', "without objects"),
        (b"{\n", "no Kubernetes"),
    ):
        with serving(always(Answer(body=text)), tmp_path) as server, pytest.raises(ClusterError, match=said):
            watched(server.access(), 1)


def test_a_silent_watch_ends_in_its_time(tmp_path: Path) -> None:
    with serving(always(Answer(parts=(event("BOOKMARK", "2"), b"\n"), pause=0.01)), tmp_path) as server:
        assert watched(server.access(), 1, seconds=0.3) == []


def test_an_event_without_end_is_not_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_LINE", 1000)
    with (
        serving(always(Answer(parts=(b"x" * 600,) * 5)), tmp_path) as server,
        pytest.raises(ClusterError, match="event of the API is larger"),
    ):
        watched(server.access(), 1)


# Proxies


def test_a_connection_goes_by_the_proxy_and_is_checked_through_it(tmp_path: Path) -> None:
    async def main(target: Access) -> list[str]:
        asked: list[str] = []

        async def relay(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()

        async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            asked.append(head.split("\r\n")[0])
            host, _, port = head.split(" ")[1].rpartition(":")
            there, away = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await asyncio.gather(relay(reader, away), relay(there, writer), return_exceptions=True)
            for each in (writer, away):
                each.close()

        server = await asyncio.start_server(connect, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            proxied = Access(name="qa", server=target.server, ca=target.ca, server_name=target.server_name,
                             proxy=f"http://127.0.0.1:{port}")  # fmt: skip
            async with Api(proxied, environ={}) as api:
                assert await api.get(PATH) == {}
            await asyncio.sleep(0.05)  # both ends have closed
        return asked

    with serving(always(Answer()), tmp_path, AUTHORITY.issue("api.example.com")) as server:
        lines = asyncio.run(main(server.access(server_name="api.example.com")))
        assert lines == [f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"]


def test_a_proxy_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"through the proxy http://127\.0\.0\.1:1\.") as caught:
        ask(Access(name="qa", server="https://192.0.2.6:6443"), get, {"HTTPS_PROXY": "http://a:s3cret@127.0.0.1:1"})
    assert "s3cret" not in str(caught.value)
    with pytest.raises(UsageError, match="proxy of qa"):
        ask(Access(name="qa", server="https://192.0.2.6:6443", proxy="gopher://x"), get)


def test_a_socks_proxy_is_given_the_name_and_the_server_is_checked_through_it(tmp_path: Path) -> None:
    """RFC 1928: the name goes to the proxy, which may be the only one that knows it."""

    async def main(target: Access, port: int) -> list[tuple[bytes, int]]:
        asked: list[tuple[bytes, int]] = []

        async def relay(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()

        async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly((await reader.readexactly(2))[1])
            writer.write(b"\x05\x00")
            kind = (await reader.readexactly(4))[3]
            assert kind == 3, "a name"
            name = await reader.readexactly((await reader.readexactly(1))[0])
            asked.append((name, int.from_bytes(await reader.readexactly(2), "big")))
            there, away = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
            await asyncio.gather(relay(reader, away), relay(there, writer), return_exceptions=True)
            for each in (writer, away):
                each.close()

        server = await asyncio.start_server(connect, "127.0.0.1", 0)
        proxy = f"socks5://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            async with Api(replace(target, proxy=proxy), environ={}) as api:
                assert await api.get(PATH) == {}
            await asyncio.sleep(0.05)  # both ends have closed
        return asked

    with serving(always(Answer()), tmp_path, AUTHORITY.issue("api.qa.internal")) as server:
        target = server.access(server="https://api.qa.internal:6443")
        assert asyncio.run(main(target, server.port)) == [(b"api.qa.internal", 6443)]
