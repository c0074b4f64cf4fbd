"""Adds up JUnit files: prints `PASSED FAILED SKIPPED` of all test cases in the files named on the command line; with
--failures first, the name of each failed one and the beginning of what it said instead.

ctest writes one case for each program and gtest one for each test in it: a program that gtest reported on is counted by
its tests, and by itself only when it failed without any of them failing (it crashed, say).
"""
import os
import sys
import xml.etree.ElementTree

CTEST = "ctest.xml"
SAID_LINES = 15


def outcome(case):
    if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
        return "failed"
    if case.find("skipped") is not None or case.get("result") == "skipped" or \
            case.get("status") in ("notrun", "disabled", "skipped"):
        return "skipped"
    return "passed"


def cases(path):
    try:
        return [(case.get("name", ""), outcome(case))
                for case in xml.etree.ElementTree.parse(path).iter("testcase")]
    except (OSError, xml.etree.ElementTree.ParseError) as error:
        print(f"tally: {path}: {error}", file=sys.stderr)
        return [(path, "failed")]


def said(case):
    """What a failed test case printed: a few lines, for the end of a long report."""
    part = case.find("failure")
    if part is None:
        part = case.find("error")
    if part is None:
        part = case.find("system-out")    # of ctest
    if part is None:
        return []
    lines = [line for line in (part.text or part.get("message") or "").splitlines() if line.strip()]
    return lines if len(lines) <= SAID_LINES else [*lines[:3], "[...]", *lines[3 - SAID_LINES:]]


def print_failures(paths):
    for path in paths:
        try:
            found = xml.etree.ElementTree.parse(path).iter("testcase")
        except (OSError, xml.etree.ElementTree.ParseError) as error:
            print(f"{path}: {error}")
            continue
        for case in found:
            if outcome(case) == "failed":
                print(f"-- {case.get('classname') or os.path.basename(path)}: {case.get('name')}")
                for line in said(case):
                    print(f"   {line[:300]}")


def main():
    if sys.argv[1:2] == ["--failures"]:
        print_failures(sys.argv[2:])
        return
    sums = {"passed": 0, "failed": 0, "skipped": 0}
    programs, detailed = [], {}
    for path in sys.argv[1:]:
        found = cases(path)
        if os.path.basename(path) == CTEST:
            programs += found
            continue
        detailed[os.path.splitext(os.path.basename(path))[0]] = found
        for _, how in found:
            sums[how] += 1
    for name, how in programs:
        inner = [how for _, how in detailed.get(name, [])]
        if not inner or (how == "failed" and "failed" not in inner):
            sums[how] += 1
    print(sums["passed"], sums["failed"], sums["skipped"])


if __name__ == "__main__":
    main()
