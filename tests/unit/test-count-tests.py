#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Does tools/count-tests see everything that goes wrong? Whoever counts wrongly makes a red run green.

test-count-tests.py COUNT-TESTS
"""

import json
import subprocess
import sys
import tempfile

TAP = "TAP version 13\n1..3\nok 1 - one\nnot ok 2 - two\nnot ok 3 # SKIP three\n# not ok - comment\n"
VERBOSE = """test_one (__main__.Some) ... ok
test_two (__main__.Some)
What it is about. ... FAIL
test_three (__main__.Some) ... skipped 'no such thing here'

======================================================================
FAIL: test_two (__main__.Some)
----------------------------------------------------------------------
Ran 3 tests in 0.001s

FAILED (failures=1, skipped=1)
"""
TERSE = VERBOSE[VERBOSE.index("====="):].replace("Ran 3", "Ran 5")

# result of meson, exit status, stdout, stderr -> passed, failed, skipped, may be run again
SAMPLES = [
    ("OK", 0, "1..2\nok 1 - one\nok 2 - two\n", "", (2, 0, 0, 0)),
    ("OK", 0, "1..2\nok 1 - one\nok 2 - two # SKIP not here\n", "", (1, 0, 1, 0)),
    ("FAIL", 1, TAP, "", (1, 1, 1, 1)),
    ("ERROR", -11, "1..3\nok 1 - one\n", "Segmentation fault", (1, 2, 0, 0)),
    ("ERROR", 1, "1..1\nok 1 - one\n", "LeakSanitizer: detected memory leaks", (1, 1, 0, 0)),
    ("SKIP", 0, "1..0 # SKIP no compiler\n", "", (0, 0, 1, 0)),
    ("FAIL", 1, "", VERBOSE, (1, 1, 1, 1)),
    ("FAIL", 1, "", TERSE, (3, 1, 1, 1)),
    ("OK", 0, "", "..\nRan 2 tests in 0.1s\n\nOK\n", (2, 0, 0, 0)),
    ("TIMEOUT", -15, "", "test_one (__main__.Some) ... ok\ntest_two (__main__.Some) ... ", (0, 1, 0, 0)),
    ("FAIL", 1, "", "ImportError: no such module", (0, 1, 0, 0)),
    ("OK", 0, "76 includes obey the layer rule\n", "", (1, 0, 0, 0)),
    ("SKIP", 77, "no kernel here\n", "", (0, 0, 1, 0)),
    ("ERROR", 1, "1..2\nok 1 - one\nnot ok 2 - two\n", "==1==ERROR: AddressSanitizer: heap-use-after-free", (1, 1, 0, 0)),
    ("ERROR", 1, "1..2\nok 1 - one\nnot ok 2 - two\n", "x.c:1:2: runtime error: shift exponent", (1, 1, 0, 0)),
    ("FAIL", 1, "1..2\nnot ok 1 - one\n", "", (0, 2, 0, 0)),
    ("TIMEOUT", 1, "1..1\nnot ok 1 - one\n", "", (0, 1, 0, 0)),
    ("FAIL", -6, "1..1\nnot ok 1 - one\n", "", (0, 1, 0, 0)),
]


def count(count_tests, *sample):
    result, status, stdout, stderr = sample
    test = {"name": "sample", "result": result, "returncode": status, "stdout": stdout, "stderr": stderr}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as log:
        log.write(json.dumps(test) + "\n")
        log.flush()
        lines, again = (subprocess.run([count_tests, *option, log.name], check=True, stdout=subprocess.PIPE, text=True).stdout
                        for option in ((), ("--again",)))
    words = [line.split("\t")[0] for line in lines.splitlines()]
    return (*(words.count(word) for word in ("passed", "failed", "skipped")), again.splitlines().count("sample"))


def main():
    print(f"1..{len(SAMPLES)}")
    bad = 0
    for number, (*sample, expected) in enumerate(SAMPLES, 1):
        got = count(sys.argv[1], *sample)
        bad += got != expected
        print(f"{'ok' if got == expected else 'not ok'} {number} - {sample[0]}: {expected}, counted {got}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
