#!/usr/bin/env python3
"""Keeps the code as ARCHITECTURE.md and CONTRIBUTING.md say. usage: tidy.py [FOLDER]

Reads the table "who may use whom" of ARCHITECTURE.md, so that it cannot rot, and every file that git
knows. Prints one line a violation, "file:line: what, and what to do instead", and fails if there is
one. What is merely long is printed as a note until it passes the hard limit."""

import pathlib
import re
import subprocess
import sys

FILE_LINES_MAX = 1000
FUNCTION_LINES_WISH = 70
FUNCTION_LINES_MAX = 100
LINE_COLUMNS_WISH = 100
LINE_COLUMNS_MAX = 120

BANNED = {
    "strcpy": "snprintf, or a struct buffer",
    "strcat": "snprintf, or a struct buffer",
    "sprintf": "snprintf, or buffer_append_format",
    "vsprintf": "vsnprintf",
    "atoi": "text_u64",
    "atol": "text_u64",
    "strtok": "strsep on a copy, or a loop",
    "localtime": "clock_* of base/clock.h: times are UTC",
    "gets": "file_read",
    "alloca": "an arena or a fixed array",
}
# What asks the machine for time, chance or a pause, and the only files that may.
MACHINE = ("time", "gettimeofday", "rand", "random", "srand", "sleep", "usleep", "nanosleep")
MACHINE_FILES = ("base/clock.c", "base/random.c")

# Headers of libraries, by the name that the table uses. What is not here is the C library or POSIX.
LIBRARIES = {
    r"openssl/": "OpenSSL", r"yaml\.h": "libyaml", r"unicode/": "ICU", r"lmdb\.h": "LMDB",
    r"uv\.h": "libuv", r"sodium": "libsodium", r"jansson\.h": "Jansson", r"jose/": "libjose",
    r"microhttpd\.h": "libmicrohttpd", r"gnutls/": "GnuTLS", r"zlib\.h": "zlib", r"curl/": "libcurl",
    r"(mysql|mariadb)": "its own client library", r"libpq": "its own client library",
    r"sql(ext|types|ucode)?\.h": "its own client library", r"odbcinst": "its own client library",
}

# Written in two parts, so that this file does not hold them.
FORBIDDEN = ("/wo" + "rk/", "/tmp/co" + "ord", "/tmp/w" + "t/")
TEXT_SUFFIXES = {".c", ".h", ".py", ".md", ".yaml", ".yml", ".build", ".sh", ".txt", ".sql", ".html", ".js"}


def tracked(root):
    """What git knows; without git (a copy, a bare machine) everything but builds and hidden folders."""
    try:
        listed = subprocess.run(["git", "-C", root, "ls-files", "-z"], capture_output=True, check=False).stdout
    except FileNotFoundError:
        listed = b""
    if listed:
        return [root / name for name in listed.decode().split("\0") if name and (root / name).is_file()]
    paths = []
    for path in root.rglob("*"):
        top = path.relative_to(root).parts[0]
        if path.is_file() and not top.startswith(("build", ".")):
            paths.append(path)
    return paths


def read_table(text):
    """{room: (what it may include, which libraries it may use)}"""
    rooms = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) != 3 or not line.startswith("| `"):
            continue
        names = [re.findall(r"`([^`]+)`", cell) for cell in cells]
        libraries = [word.strip() for word in cells[2].split(",")]
        for room in names[0]:
            rooms[room] = (names[1], libraries)
    return rooms


def blank(text):
    """Comments, strings and characters become blanks: line numbers stay."""
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m.group(0)), text, flags=re.S)


def room_of(name, rooms):
    """The innermost room of the table that a path is in; a header of a folder itself is its own."""
    folder = name.rpartition("/")[0]
    while folder and folder not in rooms:
        folder = folder.rpartition("/")[0]
    return folder


def may_include(room, header, rooms):
    allowed, _ = rooms[room]
    other = room_of(header, rooms)
    return other == room or header in allowed or other in allowed


def functions(code):
    """(first line, lines) of every function: a brace at depth 0 whose head has parentheses."""
    depth, head, head_line, start = 0, "", 0, 0
    for number, line in enumerate(code.splitlines(), 1):
        if line.startswith("#"):
            continue
        for character in line:
            if character == "{":
                if depth == 0:
                    start = head_line if "(" in head and "=" not in head else 0
                depth += 1
            elif character == "}":
                depth = max(depth - 1, 0)
                if depth == 0:
                    if start:
                        yield start, number - start + 1
                    head, start = "", 0
            elif depth == 0 and character == ";":
                head = ""
            elif depth == 0:
                if not head.strip():
                    head_line = number
                head += character


class Tidy:
    def __init__(self, root):
        self.root = root
        self.violations = []
        self.notes = []
        table = root / "ARCHITECTURE.md"
        self.rooms = read_table(table.read_text()) if table.exists() else {}
        if not self.rooms:
            self.violations.append("ARCHITECTURE.md:1: there is no table of who may use whom")

    def fail(self, name, line, what):
        self.violations.append(f"{name}:{line}: {what}")

    def walls(self, name, text):
        room = room_of(name, self.rooms)
        if not room:
            return
        libraries = self.rooms[room][1]
        for number, line in enumerate(text.splitlines(), 1):
            own = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if own and not may_include(room, own.group(1), self.rooms):
                self.fail(name, number, f"`{room}` may not include {own.group(1)}: see the table in ARCHITECTURE.md")
            system = re.match(r"\s*#\s*include\s+<([^>]+)>", line)
            for pattern, library in LIBRARIES.items() if system else ():
                if re.match(pattern, system.group(1)) and library not in libraries:
                    self.fail(name, number, f"`{room}` may not use {library}: see the table in ARCHITECTURE.md")

    def calls(self, name, code):
        for number, line in enumerate(code.splitlines(), 1):
            for match in re.finditer(r"(?<![\w.>])(\w+)\s*\(", line):
                call = match.group(1)
                if call in BANNED:
                    self.fail(name, number, f"{call}() is banned: use {BANNED[call]}")
                declares = re.match(r"\s*(static\s+)?\w+[\w\s*]*\s\**$", line[:match.start()])
                if call in MACHINE and name not in MACHINE_FILES and not declares:
                    what = (f"{call}() stands in base/clock.c and base/random.c only: "
                            "take time and randomness as parameters, wait on conditions")
                    if name.startswith("tests/"):
                        self.notes.append(f"{name}:{number}: {what}")
                    else:
                        self.fail(name, number, what)

    def sizes(self, name, text, code):
        lines = text.splitlines()
        if len(lines) > FILE_LINES_MAX:
            self.fail(name, len(lines), f"{len(lines)} lines, more than {FILE_LINES_MAX}: split the file")
        for number, line in enumerate(lines, 1):
            if len(line) > LINE_COLUMNS_MAX:
                self.fail(name, number, f"{len(line)} columns, more than {LINE_COLUMNS_MAX}")
            elif len(line) > LINE_COLUMNS_WISH:
                self.notes.append(f"{name}:{number}: {len(line)} columns, more than {LINE_COLUMNS_WISH}")
        for start, length in functions(code):
            if length > FUNCTION_LINES_MAX:
                self.fail(name, start, f"a function of {length} lines, more than {FUNCTION_LINES_MAX}: split it")
            elif length > FUNCTION_LINES_WISH:
                self.notes.append(f"{name}:{start}: a function of {length} lines, more than {FUNCTION_LINES_WISH}")

    def words(self, name, text):
        for number, line in enumerate(text.splitlines(), 1):
            for word in FORBIDDEN:
                if word in line:
                    self.fail(name, number, f"'{word}' is a place of one machine: the project speaks of itself alone")
            if re.search(r"\b(TODO|FIXME|XXX)\b(?!\([^)]+\): \S)", line) and not name.startswith("tests/tidy/"):
                self.fail(name, number, "a TODO without a reason: write TODO(why it waits): what, or do it")

    def run(self):
        for path in tracked(self.root):
            name = path.relative_to(self.root).as_posix()
            if path.suffix not in TEXT_SUFFIXES:
                continue
            text = path.read_text(errors="replace")
            self.words(name, text)
            if path.suffix in (".c", ".h"):
                code = blank(text)
                self.walls(name, text)
                self.calls(name, code)
                self.sizes(name, text, code)
        return self.violations


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
    root = root if root.is_dir() else root.parents[2]
    tidy = Tidy(root)
    violations = tidy.run()
    for line in tidy.notes:
        print(f"note: {line}")
    for line in violations:
        print(line)
    print(f"{len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
