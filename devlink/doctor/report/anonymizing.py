"""Addresses and names of one archive replaced, each always by the same: who reads it sees what belongs together.

Pure. An address keeps what its kind is, and how much of it it shares with another: two of one network are of one
network afterwards (the construction is that of Crypto-PAn: Xu, Fan, Ammar, Moon 2002). What is the same on every laptop
stays: loopback, link-local and multicast prefixes, netmasks, `svc.cluster.local`.
"""

import base64
import hmac
import ipaddress
import re
from collections.abc import Iterable

from devlink.core.prefixes import IPAddress

KEPT = tuple(map(ipaddress.ip_network, (
    "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3",
    "::/96", "fd00:5353::/32", "fe80::/112", "ff00::/8",
)))  # fmt: skip
"""What says nothing of anybody: the last of IPv4 also holds the netmasks. Of IPv6, addresses of ours are among them."""
ALTERED = tuple(map(ipaddress.ip_network, (
    "10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15",
    "::ffff:0:0/96", "64:ff9b::/96", "fc00::/8", "fd00::/8", "fe80::/10", "ff02::1:ff00:0/104", "2000::/3",
)))  # fmt: skip
"""What stays in its block, and is altered in there: who is private stays private."""
SOLICITED = ipaddress.IPv6Network("ff02::1:ff00:0/104")
"""Multicast addresses with the end of an ordinary one (RFC 4291 section 2.7.1): of those that are kept they are not."""
_EMBEDDING = tuple(map(ipaddress.IPv6Network, ("::ffff:0:0/96", "64:ff9b::/96")))
"""IPv6 addresses with one of IPv4 at their end (RFC 4291 section 2.5.5.2, RFC 6052)."""
_KEPT_MACS = re.compile(r"00([:-]00){5}|ff([:-]ff){5}|33[:-]33|01[:-]00[:-]5e", re.I)
"""None, all, and those of multicast."""

LABELS = frozenset((
    "svc", "pod", "cluster", "local", "localhost", "localdomain", "localdomain6", "ip6", "in-addr", "arpa", "com",
    "org", "net", "edu", "gov", "int", "io", "dev", "app", "cloud", "internal", "intranet", "lan", "home", "invalid",
    "onion", "default", "kube", "kube-system", "kube-public", "kube-node-lease", "kubernetes", "kube-dns", "coredns",
    "devlink", "devlink-profile", "www", "dns", "api", "root", "nobody", "main", "all", "none", "true", "false", "wan",
    "eth0", "docker", "docker0", "admin", "user", "host",
))  # fmt: skip
"""What stays of names: what everybody has, or what means something."""
_ENDINGS = frozenset((
    "conf", "cfg", "ini", "log", "logs", "service", "socket", "timer", "target", "scope", "slice", "mount", "device",
    "path", "rules", "network", "netdev", "link", "toml", "yaml", "yml", "json", "txt", "md", "py", "pyc", "so", "pem",
    "crt", "key", "gz", "html", "sh", "varlink", "pid", "lock", "d", "new", "deb", "rpm",
))  # fmt: skip
"""Last labels of what is a file or a unit, and no domain."""
_TECHNICAL = re.compile(
    r"(?:net\.(?:ipv4|ipv6|core|netfilter|bridge)|org\.freedesktop|org\.varlink|io\.devlink|(?:GENERAL|IP[46]|DHCP[46]|"
    r"WIFI-PROPERTIES|WIRED-PROPERTIES|CAPABILITIES|INTERFACE-FLAGS)|python3|asyncio|nf_tables|kernel|vm)\.",
)
"""Beginnings of dotted names that are no domains: sysctls, D-Bus, nmcli."""
_GROUPS = ("k8s.io", "kubernetes.io", ".projectcalico.org", ".cilium.io", ".k3s.io", ".openshift.io", ".antrea.io")
"""Ends of API groups, which sources of facts name."""
_FIELDS = frozenset((
    "identity.ca", "dns.domain", "dns.servers", "dns.search", "dns.namespaces", "dns.reverse", "metadata.name",
    "spec.pods", "spec.services", "profile.yaml", "dnsmasq.d", "conf.all", "conf.default",
))  # fmt: skip
"""Of a profile."""
_FOLDERS = frozenset((
    "bin", "sbin", "lib", "lib64", "share", "src", "usr", "opt", "local", ".local", ".config", ".cache", ".kube",
    ".ssh", ".venv", "venv", "config", "devlink", "state", "log", "agent.log", "profiles", "profile.yaml",
    "config.toml", "go", ".cargo", ".pyenv", ".krew", "shims", "snap", "python", "site-packages",
))  # fmt: skip
"""Parts of paths below a home that say nothing."""

_START = r"(?:(?<=\\[nrt])|(?<![\w\\]))"
"""Not inside a word; a line end of JSON is none of its letters."""
_START_OF_NAME = r"(?:(?<=\\[nrt])|(?<![A-Za-z0-9\\]))"
_MASK = r"(?P<mask><masked [A-Za-z]+ [0-9a-f]{12}>)"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|\d\d?)"
_HEAD = r"(?<![\d.])"
_FOUR = re.compile(rf"{_HEAD}{_OCTET}(?:\.{_OCTET}){{3}}(?!\d|\.\d)")
_MAC = re.compile(
    r"(?<![0-9A-Fa-f])(?<![0-9A-Fa-f][:-])[0-9A-Fa-f]{2}(?:(?::[0-9A-Fa-f]{2}){5}|(?:-[0-9A-Fa-f]{2}){5})"
    r"(?![:-]?[0-9A-Fa-f])"
)
_DOTTED = re.compile(r"[A-Za-z0-9_*][\w-]{0,80}(?:\.[\w-]+)+")
_TOP = re.compile(r"[a-z]{2,}|xn--[a-z0-9-]+")
"""The last label of a domain (RFC 3696 section 2)."""
_KINDS = (
    rf"(?P<home>{_START[:-1]}|(?<=:))/(?:home|Users|root)(?=[/\s:'\",;)\]]|$)(?:/[^\s/:'\",;()\[\]{{}}\\]+)*)",
    rf"(?P<mac>{_MAC.pattern})",
    r"(?P<macname>\b(?:enx|wlx|wwx)[0-9a-f]{12}\b)",
    rf"(?P<arpa>{_HEAD}(?:{_OCTET}\.){{1,4}}in-addr\.arpa)",
    r"(?P<arpa6>(?<![\w.])(?:[0-9A-Fa-f]\.){1,32}ip6\.arpa)",
    r"(?P<six>(?<![0-9A-Fa-f:.])(?=[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:)[0-9A-Fa-f:.]+)(?P<length6>/\d{1,3}(?!\d))?",
    rf"(?P<four>{_FOUR.pattern})(?P<length4>/\d{{1,2}}(?!\d))?",
    rf"(?P<dashed>(?<![\w-])(?:ip-)?{_OCTET}(?:-{_OCTET}){{3}}(?![\d-]))",
    r"(?P<mail>(?<![\w.+-])[\w.+-]{1,64})(?=@(?:[\w-]+\.)+[A-Za-z]{2,}\b)",
    rf"(?P<dotted>{_START}{_DOTTED.pattern})",
    r"(?P<url>(?<=://)[A-Za-z][\w-]*(?=[:/\s\"'?#]|$))",
)


_LONGEST = 100
"""Characters of what may hold an address: a fingerprint is longer."""


class Anonymizer:
    """Replaces addresses and names in texts of one archive."""

    def __init__(self, key: bytes, names: Iterable[str] = (), *, keep: Iterable[str] = ()) -> None:
        """`key`: random, used for one archive and forgotten. `names`: of hosts, users, contexts, profiles, networks,
        which nothing else shows to be names. `keep`: dotted names that are no domains, such as modules and packages.
        """
        self._key = key
        self._keep = frozenset(keep)
        self._pinned = {
            version: frozenset(
                (bits >> (width - length), length)
                for block in (*KEPT, *ALTERED) if block.version == version
                for bits in (int(block.network_address),) for length in range(block.prefixlen)
            )
            for version, width in ((4, 32), (6, 128))
        }  # fmt: skip
        """What lies above a block, as its bits and how many: there nothing is turned, so that each block stays."""
        known = {name.strip() for name in names}
        known = {name for name in known if len(name) > 1 and name.lower() not in LABELS and not name.isdigit()}
        known = {name for name in known if not _is_domain(name)}  # else it would not be seen whose part it is
        alternatives = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
        self._names = re.compile(rf"{_START_OF_NAME}(?:{alternatives})(?![A-Za-z0-9])", re.I) if known else None
        named = (f"(?P<name>{self._names.pattern})",) if self._names is not None else ()
        self._all = re.compile("|".join((_MASK, *_KINDS[:7], *named, *_KINDS[7:])))
        self._cache: dict[tuple[int, int], int] = {}

    def anonymize(self, text: str) -> str:
        return self._all.sub(self._replace, text)

    def word(self, name: str) -> str:
        """What stands for a name, whatever its case; what everybody has stays."""
        if name.lower() in LABELS or name.isdigit():
            return name
        digest = hmac.digest(self._key, b"name" + name.lower().encode(errors="replace"), "sha256")
        return "x" + base64.b32encode(digest)[:7].decode().lower()

    def address(self, address: IPAddress) -> IPAddress:
        """What stands for it: as many of the first bits as two addresses share, they share afterwards."""
        if isinstance(address, ipaddress.IPv6Address):
            for block in _EMBEDDING:
                if address in block:
                    inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
                    return ipaddress.IPv6Address(int(block.network_address) | int(self.address(inner)))
        is_kept = any(address in block for block in KEPT if block.version == address.version)
        if is_kept and not (address.version == 6 and address in SOLICITED):
            return address
        value = self._turned(address)
        return ipaddress.IPv4Address(value) if address.version == 4 else ipaddress.IPv6Address(value)

    def _turned(self, address: IPAddress) -> int:
        key = (address.version, int(address))
        if key not in self._cache:
            width, value = address.max_prefixlen, int(address)
            pinned, result = self._pinned[address.version], 0
            for length in range(width):
                above = value >> (width - length)
                bit = value >> (width - length - 1) & 1
                if (above, length) not in pinned:
                    octets = bytes((address.version, length)) + above.to_bytes(16, "big")
                    bit ^= hmac.digest(self._key, octets, "sha256")[0] & 1
                result = result << 1 | bit
            self._cache[key] = result
        return self._cache[key]

    def _replace(self, found: re.Match[str]) -> str:
        kind = found.lastgroup or ""
        text = found[0]
        match kind:
            case "mask":
                return text
            case "home":
                return self._home(text)
            case "mac":
                return self._mac(text)
            case "macname":
                return text[:3] + self._mac(":".join(text[at : at + 2] for at in range(3, 15, 2))).replace(":", "")
            case "arpa":
                return self._reverse(text, 4)
            case "arpa6":
                return self._reverse(text, 6)
            case "six" | "length6":
                return self._six(found["six"], found["length6"] or "")
            case "four" | "length4":
                return self._prefix(ipaddress.ip_address(found["four"]), found["length4"] or "")
            case "dashed":
                plain = text.removeprefix("ip-").replace("-", ".")
                return text[: -len(plain)] + str(self.address(ipaddress.ip_address(plain))).replace(".", "-")
            case "dotted":
                return self._dotted(text)
            case _:
                return self.word(text)

    def _prefix(self, address: IPAddress, length: str) -> str:
        """An address, or a network: one whose last bits are none keeps them so."""
        bits = int(length[1:]) if length else address.max_prefixlen
        if bits > address.max_prefixlen:
            return f"{self.address(address)}{length}"
        free = address.max_prefixlen - bits
        value = int(self.address(address))
        if int(address) & ((1 << free) - 1) == 0:
            value = value >> free << free
        made = ipaddress.IPv4Address(value) if address.version == 4 else ipaddress.IPv6Address(value)
        inner = made.ipv4_mapped if made.version == 6 else None
        return f"::ffff:{inner}{length}" if inner is not None else f"{made}{length}"

    def _six(self, text: str, length: str) -> str:
        """What may be an IPv6 address among its neighbours' colons: `from fd00::1: ...`; a time of day is none."""
        if len(text) > _LONGEST:
            return self.word(text) + length
        cuts = [0, *(at + 1 for at, char in enumerate(text) if char == ":")]
        ends = [len(text), *(at for at in range(len(text) - 1, 0, -1) if text[at] in ":.")]
        for start in cuts:
            for end in ends:
                if text[start:end].count(":") < 2:
                    break
                try:
                    address = ipaddress.IPv6Address(text[start:end])
                except ValueError:
                    continue
                rest = f"{text[end:]}{length}" if end < len(text) else ""
                return text[:start] + self._prefix(address, length if not rest else "") + rest
        return self._inner(text) + length

    def _inner(self, text: str) -> str:
        """Other addresses in what was none of IPv6: `7:10.0.0.1:53`, `:52:54:00:12:34:56`."""
        text = _FOUR.sub(lambda four: str(self.address(ipaddress.ip_address(four[0]))), text)
        return _MAC.sub(lambda mac: self._mac(mac[0]), text)

    def _mac(self, text: str) -> str:
        if _KEPT_MACS.match(text):
            return text
        digest = hmac.digest(self._key, b"mac" + text.lower().replace("-", ":").encode(), "sha256")
        return text[2].join(["02", *(f"{octet:02x}" for octet in digest[:5])])

    def _reverse(self, text: str, version: int) -> str:
        """A reverse zone (RFC 1035 section 3.5, RFC 3596 section 2.5) of the prefix that stands for its own."""
        suffix = ".in-addr.arpa" if version == 4 else ".ip6.arpa"
        labels = text[: -len(suffix)].split(".")[::-1]
        if version == 4:
            made = str(self.address(ipaddress.ip_address(".".join([*labels, *["0"] * (4 - len(labels))])))).split(".")
        else:
            value = int("".join(labels).ljust(32, "0"), 16)
            made = list(f"{int(self.address(ipaddress.IPv6Address(value))):032x}")
        return ".".join(made[: len(labels)][::-1]) + suffix

    def _home(self, text: str) -> str:
        parts = text.split("/")
        if parts[1] == "root":
            return "/".join(parts[:2] + [self._part(part) for part in parts[2:]])
        return "/".join(parts[:2] + [self.word(part) for part in parts[2:3]] + [self._part(part) for part in parts[3:]])

    def _part(self, part: str) -> str:
        """One of a path below a home."""
        if part in _FOLDERS or re.fullmatch(r"python3[\d.]*", part):
            return part
        stem, dot, ending = part.rpartition(".")
        return f"{self.word(stem)}.{ending}" if dot and stem and ending in _ENDINGS else self.word(part)

    def _dotted(self, text: str) -> str:
        labels = text.split(".")
        if text in self._keep or not _is_domain(text):
            return self._named(text)
        return ".".join(label if label in ("*", "_tcp", "_udp") else self.word(label) for label in labels)

    def _named(self, text: str) -> str:
        return self._names.sub(lambda found: self.word(found[0]), text) if self._names is not None else text


def _is_domain(text: str) -> bool:
    if not _DOTTED.fullmatch(text):
        return False
    last = text.rpartition(".")[2].lower()
    is_domain = _TOP.fullmatch(last) and last not in _ENDINGS and not _TECHNICAL.match(text)
    return bool(is_domain) and not text.lower().endswith(_GROUPS) and text not in _FIELDS
