#!/usr/bin/env python3
"""tidy.py finds what is planted, and says so with file and line; a clean tree passes."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

TIDY = pathlib.Path(__file__).with_name("tidy.py")
TABLE = """# A
| room | may include | may use the libraries |
|---|---|---|
| `base` | – | OpenSSL |
| `ledger/pbft` | `base` | – |
| `ledger` | `base`, `ledger/pbft` | libuv |
| `gateway/rest` | `base`, `ledger/ledger.h` | Jansson |
"""
PLANTED = (
    ("ledger/pbft/a.c", '#include "ledger/net/net.h"\n', "1: `ledger/pbft` may not include ledger/net/net.h"),
    ("ledger/pbft/b.c", "int a;\n#include <time.h>\n#include <uv.h>\n", "3: `ledger/pbft` may not use libuv"),
    ("gateway/rest/a.c", '#include "ledger/leaf.h"\n', "1: `gateway/rest` may not include ledger/leaf.h"),
    ("base/a.c", '#include "ledger/ledger.h"\n', "1: `base` may not include ledger/ledger.h"),
    ("base/b.c", "void f(char *a) {\n    strcpy(a, b);\n}\n", "2: strcpy() is banned: use snprintf, or a struct buffer"),
    ("base/c.c", "int f(void) {\n    return (int)time(NULL);\n}\n", "2: time() stands in base/clock.c"),
    ("base/d.c", "/* TODO later */\n", "1: a TODO without a reason"),
    ("base/e.c", "int a; /* " + "x" * 120 + " */\n", "1: 133 columns, more than 120"),
    ("base/f.c", "int a;\n" * 1001, "1001: 1001 lines, more than 1000"),
    ("base/g.c", "static int f(int a,\n             int b) {\n" + "    a++;\n" * 100 + "}\n",
     "1: a function of 103 lines, more than 100"),
    ("docs/a.md", "see " + "/wo" + "rk/shared\n", "1: '" + "/wo" + "rk/' is a place of one machine"),
)
CLEAN = (
    ("ledger/pbft/ok.c", '#include "ledger/pbft/pbft.h"\n#include "base/bytes.h"\n#include <string.h>\n'),
    ("gateway/rest/ok.c", '#include "ledger/ledger.h"\n#include <jansson.h>\n'),
    ("base/clock.c", "long f(void) {\n    return time(0);\n}\n"),
    ("base/ok.c", '/* strcpy(a) */ const char *a = "strcpy(b)"; /* TODO(waits for b): c */\n'
                  "void strtok_r(void);\nint b = x->time(1);\nstatic const int t[] = {\n" + "    1,\n" * 120 + "};\n"),
    ("tests/ok.c", '#include "gateway/anything.h"\n'),
)


def run(files):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "ARCHITECTURE.md").write_text(TABLE)
        for name, text in files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        done = subprocess.run([sys.executable, TIDY, folder], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout


class TidyTest(unittest.TestCase):
    def test_a_clean_tree_passes(self):
        status, output = run(CLEAN)
        self.assertEqual((status, output), (0, "0 violations\n"))

    def test_each_planted_violation_is_found_alone(self):
        for name, text, found in PLANTED:
            with self.subTest(name):
                status, output = run((*CLEAN, (name, text)))
                self.assertEqual(status, 1, output)
                self.assertIn(f"{name}:{found}", output)
                self.assertTrue(output.endswith("\n1 violations\n"), output)

    def test_a_lost_table_is_no_pass(self):
        status, output = run((("ARCHITECTURE.md", "# no table\n"),))
        self.assertEqual(status, 1)
        self.assertIn("there is no table", output)


if __name__ == "__main__":
    unittest.main()
