"""The package's copyright file, machine-readable (Debian's DEP-5): devlink's licence, and those of its libraries.

Of the latter it says what their own metadata say.
"""

import csv
import email.message
import email.parser
import email.policy
import re
from pathlib import Path

SOURCE = "https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
COMMON = {
    "Apache-2.0": ("Apache License", "Version 2.0"),
    "GPL-3": ("GNU GENERAL PUBLIC LICENSE", "Version 3"),
    "GPL-2": ("GNU GENERAL PUBLIC LICENSE", "Version 2"),
    "MPL-2.0": ("Mozilla Public License", "2.0"),
}
"""Licences whose text Debian has in /usr/share/common-licenses, and what their text begins with."""
CLASSIFIERS = {
    "MIT License": "Expat",
    "BSD License": "BSD-3-clause",
    "Apache Software License": "Apache-2.0",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2+",
    "Python Software Foundation License": "PSF-2.0",
}

TEXTS = {
    "Permission is hereby granted, free of charge": "Expat",
    "Redistribution and use in source and binary forms": "BSD-2-clause",
}
"""Words of licences, for a library that brings nothing but the text."""


def copyright_file(libraries: Path, programs: str) -> str:
    """Its text. `libraries` is the folder with them and their metadata, `programs` where the package puts them."""
    parts = [
        f"Format: {SOURCE}\nUpstream-Name: devlink\nComment:\n"
        " The libraries beside devlink itself are unchanged, as their authors publish them.",
        "Files: *\nCopyright: the authors of devlink\nLicense: Apache-2.0\n" + _common("Apache-2.0"),
    ]
    for metadata in sorted(libraries.glob("*.dist-info")):
        parts.append(_library(metadata, programs))
    return "\n\n".join(parts) + "\n"


def _library(metadata: Path, programs: str) -> str:
    said = email.parser.Parser(policy=email.policy.compat32).parsestr((metadata / "METADATA").read_text())
    texts = [
        path.read_text(errors="replace")
        for path in sorted(metadata.rglob("*"))
        if path.is_file() and re.match(r"(LICEN[CS]E|COPYING|NOTICE)", path.name, re.IGNORECASE)
    ]
    author = said["Author"] or said["Author-email"] or f"the authors of {said['Name']}"
    holders = sorted({line for text in texts for line in _holders(text)}) or [author]
    files = "\n ".join(f"{programs}/{each}" for each in _files(metadata))
    names = _names(said, texts)
    own = [text for text in texts if not _which(text)]
    body = [_common(name) for name in COMMON if any(_which(text) == name for text in texts)]
    body += [_indented(text) for text in own]
    if not body:
        body = [_common(name.removesuffix("+")) for name in names.split() if name.removesuffix("+") in COMMON]
    if not body:
        raise SystemExit(f"deb: {metadata.name} brings no text of its licence ({names})")
    copyrights = "\n ".join(holders)
    return f"Files: {files}\nCopyright: {copyrights}\nLicense: {names}\n" + "\n .\n".join(body)


def _files(metadata: Path) -> list[str]:
    """What lies directly in the folder; of a namespace that several share, what lies in that."""
    tops = set()
    for path, *_ in csv.reader((metadata / "RECORD").read_text().splitlines()):
        first, *rest = path.split("/")
        if first in ("..", metadata.name):
            continue
        if first in ("jaraco", "backports"):
            first = f"{first}/{rest[0]}"
            rest = rest[1:]
        tops.add(f"{first}/*" if rest else first)
    return sorted({f"{metadata.name}/*", *tops})


def _names(said: "email.message.Message[str, str]", texts: list[str]) -> str:
    """The licence as DEP-5 has it: words with `or` and `and` between them."""
    expression = said["License-Expression"]
    if not expression:
        found = [CLASSIFIERS[each.split(" :: ")[-1]] for each in said.get_all("Classifier", []) if _known(each)]
        expression = " or ".join(dict.fromkeys(found))
    for words, name in TEXTS.items():
        if not expression and any(words in " ".join(text.split()) for text in texts):
            expression = name
    if not expression:
        raise SystemExit(f"deb: {said['Name']} does not say its licence")
    expression = re.sub(r"\bMIT\b", "Expat", expression.replace("-or-later", "+"))
    return re.sub(r"\b(AND|OR)\b", lambda match: match[0].lower(), expression)


def _known(classifier: str) -> bool:
    return classifier.startswith("License :: ") and classifier.split(" :: ")[-1] in CLASSIFIERS


def _holders(text: str) -> list[str]:
    found = re.findall(r"^\s*(?:Copyright|©)\s+(?:\([cC]\)|©)?\s*(.*\d{4}.*)$", text, re.MULTILINE)
    return [re.sub(r"\s+", " ", each).strip().rstrip(".") for each in found]


def _which(text: str) -> str:
    """The licence of COMMON that this is the text of; empty for any other."""
    start = " ".join(text[:600].split())
    return next((name for name, words in COMMON.items() if all(word in start for word in words)), "")


def _common(name: str) -> str:
    return f" On Debian systems the text is in /usr/share/common-licenses/{name}."


def _indented(text: str) -> str:
    return "\n".join(f" {line.rstrip()}" if line.strip() else " ." for line in text.strip().expandtabs().splitlines())
