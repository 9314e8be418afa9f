#!/usr/bin/env python3
"""Adds up what a test run produced and prints it: cases by suite, each failure, each skip's reason.

Usage: summary.py RESULTS_DIR

RESULTS_DIR holds, for any NAME:
  NAME.ctest.xml  ctest's JUnit file
  NAME.gtest/     the XML files of the gtest programs that ctest ran (GTEST_OUTPUT)
  NAME.tap        lines `ok NAME`, `not ok NAME: WHY`, `skip NAME: WHY` of a script

A ctest entry counts as the gtest cases in its XML file, or as the lines of that protocol in its
output, or as one. The last line is `N passed, N failed, N skipped`; the exit code is 1 after any
failure, and when nothing was counted at all: a run that tests nothing has not passed.
"""
import pathlib
import re
import sys
import xml.etree.ElementTree as ET

LINE = re.compile(r"^(ok|not ok|skip) ([^:]+?)(?:: (.*))?$")


class Tally:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], []

    def add(self, verdict, name, why=""):
        if verdict == "ok":
            self.passed += 1
        elif verdict == "skip":
            self.skipped.append((name, why or "no reason given"))
        else:
            self.failed.append((name, why))

    def merge(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self):
        return f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"


def first_line(text):
    lines = [line for line in (text or "").strip().splitlines() if line.strip()]
    return lines[0].strip() if lines else ""


def count_gtest(path):
    tally = Tally()
    for case in ET.parse(path).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        failure, skipped = case.find("failure"), case.find("skipped")
        if failure is not None:
            text = (failure.get("message") or failure.text or "").strip()
            tally.add("not ok", name, " | ".join(text.splitlines()[:6]))
        elif skipped is not None or case.get("result") == "skipped":
            # The message reads `file:line`, then what the test said.
            text = "" if skipped is None else (skipped.get("message") or skipped.text or "")
            said = [line for line in text.splitlines()
                    if line.strip() and not re.match(r"^\S+:\d+$", line)]
            tally.add("skip", name, said[0].strip() if said else "")
        elif case.get("result") == "completed":
            tally.add("ok", name)
    return tally


def count_lines(text):
    tally = Tally()
    for line in (text or "").splitlines():
        found = LINE.match(line)
        if found:
            tally.add(*(part or "" for part in found.groups()))
    return tally


def total(tally):
    return tally.passed + len(tally.failed) + len(tally.skipped)


def count_entry(entry, gtest_directory):
    name = entry.get("name")
    failure, skipped = entry.find("failure"), entry.find("skipped")
    output = entry.findtext("system-out") or ""
    gtest = gtest_directory / f"{name}.xml"
    tally = Tally()
    if gtest.exists():
        try:
            tally = count_gtest(gtest)
        except ET.ParseError as error:
            tally.add("not ok", name, f"its XML is broken: {error}")
    else:
        tally = count_lines(output)
    if failure is not None or entry.get("status") == "fail":
        if not tally.failed:  # a crash, a sanitizer's report or a deadline, not a test's own verdict
            tail = [line for line in output.strip().splitlines() if line.strip()][-8:]
            tally.add("not ok", name, f"{(failure.get('message') if failure is not None else '')}: "
                      + " | ".join(tail))
    elif skipped is not None and not tally.skipped:
        why = "not run: " + (skipped.get("message") or "")
        # A program that ctest could not find was not built: that is no reason to skip.
        verdict = "not ok" if "SKIP" not in why else "skip"
        tally.add(verdict, name, first_line(output) or why)
    elif total(tally) == 0:
        tally.add("ok", name)
    return tally


def main():
    directory = pathlib.Path(sys.argv[1])
    everything = Tally()
    for path in sorted(directory.glob("*.ctest.xml")):
        suite = path.name.removesuffix(".ctest.xml")
        here = Tally()
        for entry in ET.parse(path).iter("testcase"):
            here.merge(count_entry(entry, directory / f"{suite}.gtest"))
        print(f"{suite + ':':<10} {here}")
        everything.merge(here)
    for path in sorted(directory.glob("*.tap")):
        here = count_lines(path.read_text(errors="replace"))
        if total(here) == 0:
            here.add("not ok", path.stem, "said nothing")
        print(f"{path.stem + ':':<10} {here}")
        everything.merge(here)
    if total(everything) == 0:
        everything.add("not ok", "tools/test", "no test ran")
    for title, entries in (("skipped", everything.skipped), ("FAILED", everything.failed)):
        for name, why in entries:
            print(f"  {title} {name}: {why}")
    print(everything)
    return 1 if everything.failed else 0


if __name__ == "__main__":
    sys.exit(main())
