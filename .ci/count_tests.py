#!/usr/bin/env python3
"""Counts test cases from Bazel's build events: count_tests.py EVENTS.json BAZEL_STATUS.

Every Google Test case counts by itself. A target that doesn't build, crashes or times out counts as one that failed.
The last line is "N passed, M failed"; the exit status is 0 only where N > 0, M == 0 and Bazel was content.
"""

import json
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree


def cases_of(path):
    """(passed, names of failed) of a test.xml."""
    passed, failed = 0, []
    for case in ElementTree.parse(path).iter("testcase"):
        name = "%s.%s" % (case.get("classname", ""), case.get("name", ""))
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(name)
        elif (
            case.get("status") != "notrun"
            and case.get("result") not in ("skipped", "suppressed")
            and case.find("skipped") is None
        ):
            passed += 1
    return passed, failed


def main():
    events_path, bazel_status = sys.argv[1], int(sys.argv[2])
    results, unbuilt = {}, set()
    with open(events_path, encoding="utf-8") as events:
        for line in events:
            event = json.loads(line)
            name = event.get("id", {})
            if "testResult" in event:
                key = name["testResult"]
                # The last attempt of a shard is the one that counts.
                results[key["label"], key.get("shard", 0), key.get("run", 0)] = event["testResult"]
            elif "targetCompleted" in name and not event.get("completed", {}).get("success"):
                unbuilt.add(name["targetCompleted"]["label"])

    passed, failed = 0, []
    for (label, _, _), result in sorted(results.items()):
        target_passed, target_failed = 0, []
        for output in result.get("testActionOutput", []):
            if output.get("name") != "test.xml":
                continue
            path = urllib.parse.unquote(urllib.parse.urlparse(output["uri"]).path)
            try:
                target_passed, target_failed = cases_of(path)
            except (OSError, ElementTree.ParseError):
                target_failed = ["unreadable result"]
        if result.get("status") != "PASSED" and not target_failed:
            target_failed = ["target ended with %s" % result.get("status", "no status")]
        passed += target_passed
        failed += ["%s %s" % (label, case) for case in target_failed]
    tested = {label for label, _, _ in results}
    failed += ["%s didn't build" % label for label in sorted(unbuilt - tested)]
    if bazel_status != 0 and not failed:
        failed.append("bazel ended with exit status %d" % bazel_status)

    for case in failed:
        print("FAILED " + case)
    print("%d passed, %d failed" % (passed, len(failed)))
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
