# SPDX-License-Identifier: GPL-2.0-or-later
"""What README.md or a manual page shows, example by example, so that a test does just that.

In README.md each indented line is an example. In a page of man(7) each display is one. In one of
mdoc(7) each line of a display that begins with a prompt, or with the name of a program; the others
are formats and settings, which are in `text` alone; a script is one example.
"""
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import testbed  # noqa: E402

PROMPT = re.compile(r"(?:[a-zA-Z]\w*)?[#$] (?=\S)"
                    r"|(?=(?:migfs(?:ctl)?|u?mount|virsh|qemu-img|systemctl) )")
ESCAPES = ((r"\(dq", '"'), (r"\(aq", "'"), (r"\-", "-"), (r"\&", ""), (r"\(rs", "\\"),
           (r"\e", "\\"))


def path_of(name):
    return os.path.join(testbed.TOP_DIR, *([] if name == "README.md" else ["man"]), name)


def unescape(line):
    for escape, character in ESCAPES:
        line = line.replace(escape, character)
    return line


def displays(lines):
    """The displays of a page of either macro package."""
    block = None
    for line in lines:
        if line.startswith(".Dl "):
            yield [line.removeprefix(".Dl ")]
        elif line.startswith((".EX", ".Bd ")):
            block = []
        elif line.startswith((".EE", ".Ed")):
            yield block
            block = None
        elif block is not None:
            block.append(line)


def examples_of_page(lines, mdoc):
    for block in displays(lines):
        prompted = [line for line in block if PROMPT.match(line)]
        if block[0].startswith("#!") or not mdoc:
            yield "\n".join(block)
        else:
            yield from (line[PROMPT.match(line).end():] for line in prompted)


def examples_of_readme(lines):
    for line in lines:
        if line.startswith("    "):
            yield line.strip().partition("  #")[0].strip()


class Page:
    """text: unescaped; examples: in their order, each once; left: those that nobody took. more:
    lines that it does not have."""

    def __init__(self, name, more=()):
        self.name = name
        with open(path_of(name), encoding="utf-8") as file:
            lines = file.read().splitlines() + list(more)
        if name != "README.md":
            lines = [unescape(line) for line in lines]
        self.text = "\n".join(lines)
        found = (examples_of_readme(lines) if name == "README.md"
                 else examples_of_page(lines, ".Dt" in self.text))
        self.examples = list(dict.fromkeys(found))
        self.left = set(self.examples)

    def take(self, example):
        """Says that this is done; it has to be shown."""
        testbed.check(example in self.examples, f"{self.name} does not show: {example}")
        self.left.discard(example)
        return example

    def find(self, words):
        """The one example that has these words."""
        found = [example for example in self.examples if words in example]
        testbed.check(len(found) == 1, f"{self.name}: {len(found)} examples have: {words}")
        return self.take(found[0])

    def done_by(self, example, test, *marks):
        """Another test does it: one that is run, and has these words."""
        path = os.path.join(testbed.TOP_DIR, test)
        testbed.check(os.path.exists(path), f"no {test}, which is to do: {example}")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for mark in marks:
            testbed.check(mark in text, f"{test} does not do: {example}\n(it has no: {mark})")
        testbed.check(test.startswith(".ci/") or is_registered(test),
                      f"{test} is in no CMakeLists.txt")
        self.take(example)

    def expect_nothing_left(self):
        left = [example for example in self.examples if example in self.left]
        testbed.check(not left, f"{self.name} shows, and no test does:\n" + "\n".join(left))


def is_registered(test):
    """Whether CTest runs it."""
    directory, name = os.path.split(os.path.join(testbed.TOP_DIR, test))
    with open(os.path.join(directory, "CMakeLists.txt"), encoding="utf-8") as file:
        text = file.read()
    return name == "CMakeLists.txt" or name.removesuffix(".py") in text
