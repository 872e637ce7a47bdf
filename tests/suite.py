#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the tests of one build directory with CTest, and counts what all of them gave.

suite.py [--full] run BUILD RESULTS.xml [KIND|NAME]...
suite.py failed RESULTS.xml NAME      notes a failure outside CTest, such as a build's
suite.py count DIRECTORY              sums up all result files, last line "N passed, N failed, ..."
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as xml


def all_tests(build):
    """Name and labels of each test that CTest knows in this build directory."""
    shown = subprocess.run(["ctest", "--test-dir", build, "--show-only=json-v1"],
                           check=True, capture_output=True, text=True).stdout
    for test in json.loads(shown)["tests"]:
        properties = {entry["name"]: entry["value"] for entry in test.get("properties", [])}
        yield test["name"], properties.get("LABELS", [])


def is_chosen(name, labels, choices):
    return not choices or any(
        choice in labels or re.search(choice, name) for choice in choices)


def chosen_tests(build, choices, full):
    return [name for name, labels in all_tests(build)
            if is_chosen(name, labels, choices) and (full or "full" not in labels)]


def run(build, results, choices, full):
    names = chosen_tests(build, choices, full)
    if not names:
        print("no test chosen here")
        return 0
    pathlib.Path(results).parent.mkdir(parents=True, exist_ok=True)
    pattern = "^(" + "|".join(re.escape(name) for name in names) + ")$"
    processors = subprocess.run(["nproc"], capture_output=True, text=True, check=True).stdout.strip()
    status = subprocess.run(["ctest", "--test-dir", build, "-R", pattern, "-j", processors,
                             "--output-on-failure", "--no-tests=error",
                             "--output-junit", str(pathlib.Path(results).absolute())]).returncode
    if not pathlib.Path(results).exists():
        note_failure(results, f"ctest in {build} (exit {status})")
    return status


def note_failure(results, name):
    pathlib.Path(results).parent.mkdir(parents=True, exist_ok=True)
    suite = xml.Element("testsuite")
    xml.SubElement(suite, "testcase", name=name, status="fail")
    xml.ElementTree(suite).write(results)
    return 1


def outcome(case):
    """passed, failed, or skipped: only a test that asked for it by its exit code was skipped."""
    if case.get("status") == "run":
        return "passed"
    skipped = case.find("skipped")
    if skipped is not None and "SKIP_RETURN_CODE" in skipped.get("message", ""):
        return "skipped"
    return "failed"


def reason(case):
    """The last line that a skipped test printed: why."""
    lines = (case.findtext("system-out") or "").strip().splitlines()
    return lines[-1] if lines else "no reason given"


def count(directory):
    names = {"passed": [], "failed": [], "skipped": []}
    for results in sorted(pathlib.Path(directory).glob("*.xml")):
        for case in xml.parse(results).getroot().iter("testcase"):
            kind = outcome(case)
            names[kind].append(case.get("name"))
            if kind == "skipped":
                names[kind][-1] += f" ({reason(case)})"
    print()
    for kind in ("skipped", "failed"):
        for name in names[kind]:
            print(f"{kind}: {name}")
    print(", ".join(f"{len(found)} {kind}" for kind, found in names.items()))
    return 0 if names["passed"] and not names["failed"] else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("command", choices=["run", "failed", "count"])
    parser.add_argument("arguments", nargs="+")
    options = parser.parse_args()
    if options.command == "run":
        build, results, *choices = options.arguments
        return run(build, results, choices, options.full)
    if options.command == "failed":
        return note_failure(*options.arguments)
    return count(*options.arguments)


if __name__ == "__main__":
    sys.exit(main())
