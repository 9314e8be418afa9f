#!/usr/bin/env python3
"""tests/support/summary.py counts right, and above all never turns a failure into a pass.

Goal: the last line of tools/test can be trusted. Method: result files as ctest and gtest write them,
one trouble per case. Prints `ok NAME` or `not ok NAME: WHY`.
"""
import pathlib
import subprocess
import sys
import tempfile

SUMMARY = pathlib.Path(__file__).resolve().parents[1] / "support/summary.py"

PASSED = '<testcase name="{0}" status="run"/>'
FAILED = '<testcase name="{0}" status="fail"><failure message="Failed"/><system-out>{1}</system-out></testcase>'
NOT_FOUND = '<testcase name="{0}" status="notrun"><skipped message="Unable to find executable"/></testcase>'
SKIPPED = '<testcase name="{0}" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/><system-out>no disk</system-out></testcase>'
SAID = '<testcase name="{0}" status="run"><system-out>{1}</system-out></testcase>'

GTEST_OK = '<testcase name="a" status="run" result="completed" classname="S"/>'
GTEST_BAD = ('<testcase name="b" status="run" result="completed" classname="S">'
             '<failure message="f.cc:3&#x0A;Expected"/></testcase>')
GTEST_SKIP = ('<testcase name="c" status="run" result="skipped" classname="S">'
              '<skipped message="f.cc:3&#x0A;needs root"/></testcase>')
GTEST_OFF = '<testcase name="d" status="notrun" result="suppressed" classname="S"/>'

# Name: (ctest entries, gtest cases of `t`, tap lines, last line, exit code, text that must appear)
CASES = {
    "gtest cases are counted one by one":
        (PASSED.format("t"), GTEST_OK + GTEST_SKIP + GTEST_OFF, None, "1 passed, 0 failed, 1 skipped",
         0, "S.c: needs root"),
    "a failing gtest case fails the run":
        (FAILED.format("t", ""), GTEST_OK + GTEST_BAD, None, "1 passed, 1 failed, 0 skipped", 1, "S.b"),
    "a crash after all cases passed is a failure":
        (FAILED.format("t", "LeakSanitizer"), GTEST_OK, None, "1 passed, 1 failed, 0 skipped", 1,
         "LeakSanitizer"),
    "a crash before any result is a failure":
        (FAILED.format("t", "Segmentation fault"), None, None, "0 passed, 1 failed, 0 skipped", 1,
         "Segmentation fault"),
    "a program that was not built is a failure":
        (NOT_FOUND.format("t"), None, None, "0 passed, 1 failed, 0 skipped", 1, "Unable to find"),
    "a script that skips itself says why":
        (SKIPPED.format("t"), None, None, "0 passed, 0 failed, 1 skipped", 0, "no disk"),
    "the lines of a script are counted":
        (SAID.format("t", "ok one\nnot ok two: why\nskip three: because"), None, None,
         "1 passed, 1 failed, 1 skipped", 1, "two: why"),
    "a script without lines counts as one":
        (PASSED.format("t"), None, None, "1 passed, 0 failed, 0 skipped", 0, ""),
    "a runner that said nothing is a failure":
        (None, None, "", "0 passed, 1 failed, 0 skipped", 1, "said nothing"),
    "a run without any test is a failure":
        (None, None, None, "0 passed, 1 failed, 0 skipped", 1, "no test ran"),
    "gtest results that are cut short are a failure":
        (FAILED.format("t", ""), "<testcase", None, "0 passed, 1 failed, 0 skipped", 1, "broken"),
}


def complaint(entries, gtest, tap, last, code, mention):
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        if entries is not None:
            (directory / "x.ctest.xml").write_text(f"<testsuite>{entries}</testsuite>")
        if gtest is not None:
            (directory / "x.gtest").mkdir()
            (directory / "x.gtest/t.xml").write_text(
                f"<testsuites><testsuite>{gtest}</testsuite></testsuites>")
        if tap is not None:
            (directory / "v.tap").write_text(tap)
        done = subprocess.run([sys.executable, SUMMARY, directory], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    if not lines or lines[-1] != last:
        return f"last line {lines[-1:]} instead of {last!r} {done.stderr}"
    if done.returncode != code:
        return f"exit code {done.returncode}"
    return None if mention in done.stdout else f"{mention!r} is not in {done.stdout!r}"


def main():
    failed = False
    for name, case in CASES.items():
        why = complaint(*case)
        failed = failed or why is not None
        print(f"ok summary {name}" if why is None else f"not ok summary {name}: {why}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
