#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What migfs and migfsctl can say, and whether the tests made them say it.

messages.py list                       every text, with file and line
messages.py check DIRECTORY [RESULTS.xml]
                                       fails with each text that no file of the directory has;
                                       the outcome as a result for suite.py

A text is any string literal of the programs with a blank in it: the format of a message, a mend, a
reason, a part of a line, a usage. So none can be forgotten, however a message is put together. What
only looks like one is in NO_TEXT.

The directory is MIGFS_MESSAGES of the tests' environment, where testbed.py keeps what the programs
printed. A text is found where its pieces stand in their order on one line; the format of a log's
line, or of an error of migfsctl, where it is all of the line.
"""

import glob
import os
import re
import sys
import typing
import xml.etree.ElementTree as xml

import suite

TOP_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Functions that print nothing of what they are given.
NO_TEXT = ("_Static_assert", "sscanf", "strstr", "strncmp", "strlen", "word_after",
           "limit_of", "popen")
# Draws: its texts are in a picture, which tests/hosts/timeline.py looks at.
NO_SOURCES = ("ctl/plot.c",)

# Texts that no test provokes, each with its reason.
UNPROVOKED = {
}

# Functions that print a line: which argument is its format, and how the line begins.
LINES = {**{f"log_{level}": (0, "migfs: ") for level in ("error", "warning", "notice", "info", "debug")},
         "log_with_fields": (2, "migfs: "), "complain": (0, "migfsctl: ")}

TOKEN = re.compile(r"""
    (?P<none>/\*.*?\*/ | //[^\n]* | ^[ \t]*\#(?:\\\n|[^\n])* | \s+ | '(?:\\.|[^'\\])+')
    | (?P<string>"(?:\\.|[^"\\\n])*") | (?P<word>\w+) | (?P<mark>.)""", re.S | re.M | re.X)
CONVERSION = re.compile(r"%[-+ #0]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|j|z|t)?[a-zA-Z\0]")
ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}
ANYTHING = "\0"  # stands for an argument or a macro


class Text(typing.NamedTuple):
    """begins: how the line begins that this is the rest of; None: it is anywhere."""
    file: str
    line: int
    text: str
    begins: typing.Optional[str] = None

    def pieces(self):
        """What stands between the arguments."""
        return re.sub("%(?=%)", "", CONVERSION.sub(ANYTHING, self.text)).strip("\n").split(ANYTHING)

    def pattern(self):
        pattern = ".*".join(re.escape(piece) for piece in self.pieces())
        if self.begins is not None:
            pattern = "^" + re.escape(self.begins) + pattern + "$"
        return re.compile(pattern, re.M)

    def __str__(self):
        shown = self.text.replace(ANYTHING, "...").replace("\n", "\\n")
        return f"{self.file}:{self.line}: {shown}"


def is_text(literal):
    words = CONVERSION.sub(ANYTHING, literal)
    return re.search(r"[^\W\d_]", words) and re.search(r"\S\s+\S", words)


def tokens(source):
    """(kind, token, line): all but comments, blanks and preprocessor lines."""
    line = 1
    for match in TOKEN.finditer(source):
        if match.lastgroup != "none":
            yield match.lastgroup, match.group(), line
        line += match.group().count("\n")


def unescaped(token):
    def one(match):
        escape = match.group(1)
        return chr(int(escape, 8)) if escape.isdigit() else ESCAPES[escape]
    return re.sub(r"\\([0-7]{1,3}|.)", one, token[1:-1])


def literals(source):
    """(line, text, function, argument) of each literal, all its parts joined."""
    calls, before, joined = [["", 0]], ("mark", ";"), None
    for kind, token, line in tokens(source):
        if kind == "string":
            if joined is None:  # a macro before it is its first part
                joined = (line, ANYTHING if before[0] == "word" and before[1].isupper() else "")
            joined = (joined[0], joined[1] + unescaped(token))
        elif kind == "word" and joined is not None:
            joined = (joined[0], joined[1] + ANYTHING)
        elif joined is not None:
            yield *joined, *calls[-1]
            joined = None
        if token in ("(", "{", "["):
            calls.append([before[1], 0] if token == "(" and before[0] == "word" else ["", 0])
        elif token in (")", "}", "]"):
            calls.pop()
        elif token == ",":
            calls[-1][1] += 1
        before = (kind, token)


def texts(file):
    with open(os.path.join(TOP_DIR, file), encoding="utf-8") as source:
        for line, literal, function, argument in literals(source.read()):
            if is_text(literal) and function not in NO_TEXT:
                where, begins = LINES.get(function, (None, None))
                yield Text(file, line, literal, begins if argument == where else None)


def all_texts():
    for file in sorted(file for directory in ("cache", "ctl", "fs")
                       for file in glob.glob(directory + "/*.[ch]", root_dir=TOP_DIR)):
        if file not in NO_SOURCES:
            yield from texts(file)


def unescaped_json(match):
    return chr(int(match.group(1), 16)) if match.group(1) else match.group(2)


def printed(directory):
    """All that the programs printed; what JSON escapes as it is in a text."""
    said = []
    for path in sorted(glob.glob(os.path.join(directory, "*"))):
        with open(path, encoding="utf-8", errors="replace") as file:
            said.append(re.sub(r"\\(?:u00([0-7][0-9a-f])|([\"/\\]))", unescaped_json, file.read()))
    return "\n".join(said)


def is_in(text, said):
    """Looks for the longest piece first: a pattern alone takes minutes."""
    pattern = text.pattern()
    longest = max(text.pieces(), key=len)
    if "\n" in longest:
        return pattern.search(said) is not None
    place = said.find(longest)
    while place >= 0:
        begin = said.rfind("\n", 0, place) + 1
        end = said.find("\n", place)
        if pattern.search(said[begin:end] if end >= 0 else said[begin:]):
            return True
        place = said.find(longest, end) if end >= 0 else -1
    return False


def some_were_skipped(results):
    """Of the tests whose results lie beside."""
    return any(suite.outcome(case) == "skipped"
               for path in glob.glob(os.path.join(os.path.dirname(results), "*.xml"))
               for case in xml.parse(path).getroot().iter("testcase"))


def note(results, missing):
    """A result for suite.py; what skipped tests would have provoked is not known to be missing."""
    suite_of_one = xml.Element("testsuite")
    case = xml.SubElement(suite_of_one, "testcase", name="each message was provoked",
                          status="fail" if missing else "run")
    if missing and some_were_skipped(results):
        case.set("status", "notrun")
        xml.SubElement(case, "skipped", message="SKIP_RETURN_CODE")
        xml.SubElement(case, "system-out").text = f"{len(missing)} were not, and tests were skipped"
    xml.ElementTree(suite_of_one).write(results)


def check(directory, results=None):
    said = printed(directory)
    every = list(all_texts())
    unseen = [text for text in every if not is_in(text, said)]
    missing = [f"not provoked: {text}" for text in unseen if text.text not in UNPROVOKED]
    missing += [f"no longer true of UNPROVOKED: {text}" for text in UNPROVOKED
                if text not in [one.text for one in unseen]]
    print(*missing, f"{len(every)} texts, {len(every) - len(unseen)} provoked, "
          f"{len(UNPROVOKED)} exceptions", sep="\n")
    if results is not None:
        note(results, missing)
    return 1 if missing else 0


def main():
    if sys.argv[1:] == ["list"]:
        print(*all_texts(), sep="\n")
        return 0
    if len(sys.argv) in (3, 4) and sys.argv[1] == "check":
        return check(*sys.argv[2:])
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
