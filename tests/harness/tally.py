"""Adds up JUnit files: prints `PASSED FAILED SKIPPED` of all test cases in the files named on the command line.

ctest writes one case for each program and gtest one for each test in it: a program that gtest reported on is counted by
its tests, and by itself only when it failed without any of them failing (it crashed, say).
"""
import os
import sys
import xml.etree.ElementTree

CTEST = "ctest.xml"


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


def main():
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
