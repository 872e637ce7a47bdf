# SPDX-License-Identifier: GPL-2.0-or-later
"""What migfsctl doctor --json says."""

import json

from testbed import check

GREEN, FAILED, USAGE, WARNINGS, UNSAFE = 0, 1, 2, 6, 7


class Report:
    """Of one subject. findings: {check: [(colour, text, mend)]}."""

    def __init__(self, status, subject):
        self.status = status
        self.path = subject["path"]
        self.findings = {}
        for finding in subject["findings"]:
            check((finding["mend"] is None) == (finding["colour"] == "green"),
                  f"a mend where none is due, or none where one is: {finding}")
            self.findings.setdefault(finding["check"], []).append(
                (finding["colour"], finding["text"], finding["mend"]))

    def colours(self, name):
        return [colour for colour, _, _ in self.findings.get(name, [])]

    def expect(self, name, colour, *words):
        """Some finding of that check has that colour and these words."""
        for found, text, mend in self.findings.get(name, []):
            if found == colour and all(word in f"{text} {mend}" for word in words):
                return
        check(False, f"{name}: not {colour} with {words}: {self.findings.get(name)}")

    def expect_green(self, *names):
        for name in names:
            check(set(self.colours(name)) == {"green"}, f"{name}: {self.findings.get(name)}")

    def expect_all_green(self, *but):
        self.expect_green(*(set(self.findings) - set(but)))


def reports_of(result):
    """Of a run of it: one for each subject."""
    check(result.returncode in (GREEN, WARNINGS, UNSAFE),
          f"status {result.returncode}: {result.stdout}{result.stderr}")
    document = json.loads(result.stdout)
    check(document["version"] == 1, f"{document}")
    worst = max({"green": GREEN, "yellow": WARNINGS, "red": UNSAFE}[subject["colour"]]
                for subject in document["subjects"])
    check(result.returncode == worst, f"status {result.returncode}, worst {worst}")
    return [Report(result.returncode, subject) for subject in document["subjects"]]


def report_of(result):
    """Of a run with one subject."""
    report, = reports_of(result)
    return report
