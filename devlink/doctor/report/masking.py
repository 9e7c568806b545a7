"""No secret leaves in a report: each is replaced by what kind it was and a mark by which two equal ones are seen.

Pure. What is masked in vain costs a colleague a word; what is not masked costs its owner a cluster: so whatever stands
behind a name that is a secret's goes, and what looks like a token goes wherever it stands.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
from functools import cache

_SECRET_WORDS = (
    "token", "secret", "passw", "passphrase", "passcode", "apikey", "accesskey", "privatekey", "clientkey", "keydata",
    "certificatedata", "authoritydata", "encryptionkey", "signingkey", "sharedkey", "credential", "cookie",
    "authorization", "bearer", "jwt", "sessionid", "wepkey", "assertion", "codeverifier", "dockerconfigjson",
)  # fmt: skip
"""Parts of the names of secrets, without case, dashes and dots."""
_SECRET_NAMES = frozenset({"auth", "psk", "pass", "pw", "pwd", "sig", "signature", "nonce", "otp"})
"""Whole last words of such names."""
_SAYS_NOTHING = frozenset(("", "null", "none", "true", "false", "[]", "{}", "~", "[", "{", "("))
"""Values that are no secret, and worth reading."""

_UNSEEN = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2060\ufeff]")
"""Colours (ECMA-48 section 5.4) and whatever else nobody sees: inside a name or behind it they would hide a secret."""
_BEGIN = r"-----BEGIN (?P<label>[A-Z0-9 ]{1,40})-----"
_PEM = re.compile(rf"{_BEGIN}(?:(?!-----BEGIN).){{0,8000}}?-----END (?P=label)-----", re.DOTALL)
"""With whatever its lines are wrapped in: indentation, `\\n`, the beginnings of lines of a log."""
_PEM_HEAD = re.compile(_BEGIN + r"(?:[A-Za-z0-9+/=\s]|\\[nr])*")
"""One whose end was cut off."""
_PEM_FOOT = re.compile(
    r"(?<![A-Za-z0-9+/=])(?P<value>[A-Za-z0-9+/=]{1,64})"
    r"(?P<after>(?:\\[nr]|\s)+[^\n]{0,120}?-----END [A-Z0-9 ]{1,40}-----)"
)
"""The last, short line of one whose beginning was cut off."""
_PEM_LINE = re.compile(r"(?<![A-Za-z0-9+/=])(?=[A-Za-z0-9+/]*[G-Zg-z+/])[A-Za-z0-9+/]{64}(?![A-Za-z0-9+/=])")
"""A line of one whose beginning was cut off (RFC 7468 section 2: 64 characters); no fingerprint, which is hex."""
_ENCODED = re.compile(r"(?<![A-Za-z0-9+/])(?:LS0tLS1|MII[A-Za-z0-9+/])[A-Za-z0-9+/\\]{24,}={0,2}")
"""base64 of a PEM block (`-----`), or a DER sequence (30 82) of more than 255 octets."""
_WIREGUARD = re.compile(r"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=(?![A-Za-z0-9+/=])")
"""32 octets in base64 (wg(8))."""
_SHAPES = re.compile(
    r"""
      \beyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)*                   # JSON web tokens (RFC 7519), signed or encrypted
    | (?<![\w.-])[a-z0-9]{6}\.[a-z0-9]{16}(?![\w-]|\.\w)       # bootstrap tokens of Kubernetes
    | \b(?:token|kubeconfig)-[\w-]+:[a-z0-9]{20,}              # Rancher
    | \bsha256~[\w-]{20,}                                      # OpenShift
    | \bk8s-aws-v1\.[\w-]+ | \bya29\.[\w-]+                    # EKS, Google
    | \bgh[oprsu]_\w{20,} | \bgithub_pat_\w{20,} | \bglpat-[\w-]{20,} | \bxox[a-z]-[\w-]{10,}
    | \b(?:hvs|hvb)\.[\w-]{24,} | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b
    """,
    re.VERBOSE,
)
_SCHEME = re.compile(r"(?P<before>\b(?:bearer|basic|digest|negotiate|ntlm)[ \t]+)(?P<value>[^\s\"'\\,<>]+)", re.I)
"""The credentials of an Authorization header (RFC 9110 section 11.4), wherever they stand."""
_PROSE = re.compile(r"(?:a|the|an|is|was|in|and|or|for|of|auth|authentication|tokens?|credentials?)[.:;]?", re.I)
_USERINFO = re.compile(
    r"(?P<before>\b[A-Za-z][A-Za-z0-9+.-]{0,20}://)(?P<value>[^\s\"'<>/?#@:]{0,256}(?::[^\s\"'<>]{0,512})?)(?=@)"
)
"""A URL's, also with what should have been escaped."""
_BARE_USERINFO = re.compile(
    r"(?P<before>(?<![\w:/@]))(?P<value>[^\s:/@=\"'<>,;|]{1,128}:(?!//)[^\s\"'<>]{1,256})(?=@[\w\[])"
)
"""As in HTTP_PROXY without a scheme."""
_USER = re.compile(r"(?P<before>(?<![\w-])(?:-u|--user|--proxy-user)[ =]+[\"']?)(?P<value>[^\s:\"']+:[^\s\"']+)")
"""curl(1)."""
_NETRC = re.compile(r"(?P<before>\blogin\s+\S+\s+(?:account\s+\S+\s+)?password\s+)(?P<value>\S+)")

_LINE = re.compile(
    r"^(?P<indent>[ \t]*)(?:-[ \t]+)?(?:export[ \t]+|set[ \t]+)?(?P<key>[A-Za-z_][\w.-]*)[ \t]*[:=][ \t]*",
    re.MULTILINE,
)
"""A setting by itself on its line: YAML, INI, environment, a header. Its value goes on in lines further in."""
_PAIR = re.compile(
    r"(?:(?<![\w.-])|%[\dA-Fa-f]{2})(?P<key>[\w.-]+)(?P<quote>\\*[\"'])?\]?"
    r"[ \t]*(?:=>|:=|[:=]|%3[Dd])[ \t]*(?:\n[ \t]*(?=[\[\"'{]))?"
)
_NAMED = re.compile(
    r"\bname\\*[\"']?\s*[:=]\s*\\*[\"']?(?P<key>[\w.-]+)\\*[\"']?\s*,?\s*\\*[\"']?value(?P<quote>\\*[\"'])?\s*[:=]\s*"
)
"""An environment variable in a pod's specification."""
_OPTION = re.compile(r"(?<![\w-])--?(?P<key>[A-Za-z][\w-]*)[ \t]+(?!-)")
_VALUE = re.compile(
    r"""(?P<fence>\"\"\"|''').{0,8000}?(?P=fence)                                   # TOML, Python
      | (?P<escaped>\\{1,9}[\"']).{0,8000}?(?P=escaped)                                 # JSON in JSON
      | [bru]{0,2}\"(?:[^\"\\]|\\.){0,8000}\" | [bru]{0,2}'(?:[^'\\]|''|\\.){0,8000}'
      | \[[^\]]{0,4000}\] | \{(?:[^{}]|\{[^{}]{0,999}\}){0,4000}\}
      | (?:bearer|basic|digest|negotiate|ntlm)[ \t]+[^\s\"'\\]+
      | (?:[^\s\"'\\]|\\(?![nrt\"'\\]))*[^\s\"'\\,;)}\]]""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_QUOTED = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|''|\\.)*'|\"\"\"|'''|[\[{]")
"""What a setting's line may hold, which `_VALUE` then takes."""
_AFTER = re.compile(r"[ \t]*(?:[,;})\]#].*)?(?:\n|$)")
_HEADERS = frozenset({"cookie", "set-cookie", "authorization", "proxy-authorization"})
_HEADER = re.compile(r"[^\n\"'\\]+")
_KEYLIKE = re.compile(rf"(?:{'|'.join(_SECRET_WORDS)}|key|auth|psk)[\w-]{{0,40}}", re.I)
_BEHIND = re.compile(
    r"(?P<before>[^\n\w]{1,4}(?:[a-z]{1,12}[^\n\w]{1,4}){0,3})(?P<value>(?=[A-Za-z+/_-]*\d)[A-Za-z0-9+/_-]{24,}={0,2})"
)
"""What is long and has digits, a few words behind one that means a secret: `the token is 0123...`."""
_MASK = re.compile(r"<masked [A-Za-z]+ [0-9a-f]{12}>")
_FIRST, _LAST = 0xF0000, 0xFFFFD
"""Characters for private use: no pattern takes them for a part of anything."""
_HELD = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]")


class Masker:
    """Replaces secrets in texts of one archive."""

    def __init__(self, key: bytes) -> None:
        """`key`: random, used for one archive and forgotten: without it nobody can try passwords until one fits."""
        self._key = key

    def mask(self, text: str) -> str:
        """The text without secrets, and without what does something to a terminal. What is masked already stays."""
        return _Pass(self._key, text).text()


class _Pass:
    """One text: each secret that is found is held back behind one character, so that no later pattern sees it."""

    def __init__(self, key: bytes, text: str) -> None:
        self._key = key
        self._held: dict[str, str] = {}
        text = _UNSEEN.sub("", re.sub(r"\r\n?", "\n", text))
        text = _MASK.sub(lambda found: self._hold(found[0]), _HELD.sub("?", text))
        text = _PEM.sub(self._pem, text)
        text = _PEM_HEAD.sub(lambda found: self._secret(_letters(found[0]), "PEM"), text)
        text = _PEM_FOOT.sub(lambda found: self._secret(found["value"], "PEM") + found["after"], text)
        for pattern, kind in ((_ENCODED, "PEM"), (_WIREGUARD, "key")):  # before the end of one passes for a name
            text = self._all(pattern, kind, text)
        for heads in (_NAMED, _LINE, _PAIR, _OPTION):
            text = self._named(heads, text)
        text = self._behind(text)
        for pattern, kind in (
            (_NETRC, "secret"), (_USER, "credentials"), (_SHAPES, "token"),
            (_PEM_LINE, "PEM"), (_USERINFO, "credentials"), (_BARE_USERINFO, "credentials"), (_SCHEME, "token"),
        ):  # fmt: skip
            text = self._all(pattern, kind, text)
        self._text = text

    def text(self) -> str:
        masks = {held: mask for mask, held in self._held.items()}
        return _HELD.sub(lambda found: masks[found[0]], self._text)

    def _hold(self, mask: str) -> str:
        """The character that stands for it; beyond 65,000 different ones they share the last."""
        number = min(_FIRST + len(self._held), _LAST)
        return self._held.setdefault(mask, chr(number))

    def _secret(self, text: str, kind: str) -> str:
        """A mark of 48 bits, which only who has the key can work out."""
        digest = hmac.digest(self._key, text.encode(errors="replace"), "sha256").hex()
        return self._hold(f"<masked {kind} {digest[:12]}>")

    def _all(self, pattern: re.Pattern[str], kind: str, text: str) -> str:
        def mask(found: re.Match[str]) -> str:
            groups = found.groupdict()
            value = groups.get("value", found[0])
            is_prose = pattern is _SCHEME and _PROSE.fullmatch(value)
            if is_prose or not _is_open(value) or (pattern is _BARE_USERINFO and _is_address(value)):
                return found[0]
            return groups.get("before", "") + self._secret(value, kind)

        return pattern.sub(mask, text)

    def _pem(self, found: re.Match[str]) -> str:
        label, letters = found["label"], _letters(found[0][len(found["label"]) + 16 : -len(found["label"]) - 14])
        if label != "CERTIFICATE":
            return self._secret(letters, "key" if "KEY" in label else "PEM")
        return self._hold(f"<masked certificate {_fingerprint(letters)[:12]}>")

    def _named(self, heads: re.Pattern[str], text: str) -> str:
        """Mask what stands behind names of secrets; behind another name there may be one inside its value."""
        parts, end, at = [], 0, 0
        while head := heads.search(text, at):
            at = head.end()
            if not is_secret(head["key"]):
                continue
            start = at
            if heads is _LINE:
                at = _end_of_setting(text, start, head["indent"])
            else:
                at = _end_of_value(text, start, is_header=head["key"].lower() in _HEADERS)
            value = text[start:at]
            bare = value.strip().strip("\"'\\")
            is_folder = head["key"] == "PWD" and bare.startswith("/")  # of the environment: the present one
            if is_folder or bare.lower() in _SAYS_NOTHING or not _is_open(value):
                continue
            own = value[0] if value[0] in "\"'" and value[-1] == value[0] else ""
            quote = own or head.groupdict().get("quote") or ""  # so that JSON stays JSON
            parts += [text[end:start], quote, self._secret(bare, "secret"), quote]
            end = at
        return "".join([*parts, text[end:]])

    def _behind(self, text: str) -> str:
        parts, end, at = [], 0, 0
        while head := _KEYLIKE.search(text, at):
            at = head.end()
            found = _BEHIND.match(text, at)
            if found is not None:
                parts += [text[end : found.start("value")], self._secret(found["value"], "secret")]
                end = at = found.end()
        return "".join([*parts, text[end:]])


@cache
def is_secret(name: str) -> bool:
    """Whether what has this name is likely a secret: `clientKeyData`, `DB_PASSWORD`, `proxy-authorization`."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    last = re.split(r"[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z])", name)[-1].lower()
    return (
        last in _SECRET_NAMES or last.removesuffix("s") in _SECRET_NAMES or any(word in plain for word in _SECRET_WORDS)
    )


def _end_of_value(text: str, start: int, *, is_header: bool) -> int:
    found = (_HEADER.match(text, start) if is_header else None) or _VALUE.match(text, start)
    return found.end() if found is not None else _line_end(text, start)


def _end_of_setting(text: str, start: int, indent: str) -> int:
    """The end of the line, and of those below it that are further in, or items of a list."""
    quoted = _QUOTED.match(text, start)
    if quoted is not None and (len(quoted[0]) == 1 or quoted[0][:3] in ('"""', "'''")):
        return _end_of_value(text, start, is_header=False)
    if quoted is not None and _AFTER.match(text, quoted.end()):
        return quoted.end()
    end = _line_end(text, start)
    is_block = text[start:end].strip()[:1] in ("", "|", ">")
    while end < len(text):
        following = _line_end(text, end + 1)
        line = text[end + 1 : following]
        inside = line.startswith(indent) and line[len(indent) :][:1] in (" ", "\t")
        is_item = is_block and line.startswith((f"{indent}- ", f"{indent}-\t"))
        is_blank = not line.strip() and is_block and following < len(text)
        if not (inside or is_item or is_blank):
            break
        end = following
    return end


def _line_end(text: str, start: int) -> int:
    found = text.find("\n", start)
    return found if found >= 0 else len(text)


def _is_open(value: str) -> bool:
    """Whether there is more in it than what is held back already."""
    return _HELD.sub("", value).strip(" \t\n\\\"'|>-,;") != ""


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _letters(text: str) -> str:
    """What counts of base64 in whatever it is wrapped in: line ends, their escapes, indentation."""
    return re.sub(r"\\[nrt]|[^A-Za-z0-9+/=]", "", text)


def _fingerprint(letters: str) -> str:
    """As `openssl x509 -fingerprint -sha256` has it: a certificate is public, so a colleague may compare it."""
    try:
        octets = base64.b64decode(letters, validate=True)
    except binascii.Error:
        octets = letters.encode()
    return hashlib.sha256(octets).hexdigest()
