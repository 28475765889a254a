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


SYMBOLS = TIDY.with_name("symbols.py")


def symbols(base, ledger):
    """symbols.py over a build of two libraries and a program that is linked with zlib's sister, libm."""
    with tempfile.TemporaryDirectory() as folder:
        build = pathlib.Path(folder)
        for room, code in (("base", base), ("ledger", ledger)):
            (build / room).mkdir()
            (build / room / "a.c").write_text(code)
            subprocess.run(["cc", "-c", "a.c", "-fno-builtin"], cwd=build / room, check=True)
            subprocess.run(["ar", "rc", "liba.a", "a.o"], cwd=build / room, check=True)
        (build / "main.c").write_text("double cos(double); int main(int n, char **v) { return (int)cos(n); }\n")
        subprocess.run(["cc", "main.c", "-fno-builtin", "-Wl,--no-as-needed", "-lm", "-o", "program"], cwd=build,
                       check=True)
        done = subprocess.run([sys.executable, SYMBOLS, folder], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout


class SymbolsTest(unittest.TestCase):
    def test_symbols_of_their_rooms_pass(self):
        status, output = symbols("void text_a(void) {}\n", "void ledger_a(void) {}\nstatic void f(void) {}\n")
        self.assertEqual((status, output.endswith("0 violations\n")), (0, True), output)

    def test_a_symbol_without_its_rooms_word_is_noted(self):
        status, output = symbols("void text_a(void) {}\n", "void json_string(void) {}\n")
        self.assertEqual(status, 0)
        self.assertIn("json_string does not begin with a word of `ledger`", output)

    def test_a_symbol_of_two_rooms_is_found(self):
        status, output = symbols("void text_a(void) {}\n", "void text_a(void) {}\n")
        self.assertEqual(status, 1)
        self.assertIn("text_a is in base and ledger", output)

    def test_a_symbol_that_a_library_has_is_found(self):
        status, output = symbols("double cos(double a) { return a; }\n", "void ledger_a(void) {}\n")
        self.assertEqual(status, 1)
        self.assertRegex(output, r"cos is a symbol of \S+libm\S+ too")


if __name__ == "__main__":
    unittest.main()
