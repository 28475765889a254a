#!/usr/bin/env python3
"""Every global symbol of our libraries stands in one room alone, and is no symbol of a library that we
link: a function of the same name would quietly take the other's place in the whole process. One that
does not begin with a word of its room is noted: such names are how the clashes begin.
usage: symbols.py BUILD"""

import collections
import pathlib
import re
import subprocess
import sys

WORDS = {
    "base": "arena buffer bytes certificate clock config error file hash hkdf hmac log random sha256 text wire",
    "connectors": "support",
    "normalizer": "address character charset date digest gaiji mapping normalizer number plan reason report value",
    "ledger": "anchor block chain checked client crc32c genesis incident lane leaf ledger local merkle node "
              "pages pool segments setup signature state store transaction votes writer",
    "ledger/net": "mesh net",
    "ledger/pbft": "pbft",
    "gateway": "backend gateway listen settings",
    "gateway/identity": "identity jws replay",
    "gateway/rest": "admin chain document embedded emit health machine patient peers rest scan section server",
    "gateway/sync": "records retrieval sync verdict",
    "gateway/vault": "backup vault",
    "gateway/worker": "answer frame plugin process worker",
}


def defined(path, *flags):
    done = subprocess.run(["nm", "-g", "--defined-only", *flags, path], capture_output=True, text=True, check=False)
    return {line.split()[-1].partition("@")[0] for line in done.stdout.splitlines() if len(line.split()) == 3}


def linked(build):
    """The shared libraries, from outside the build, of everything that was linked."""
    outside = set()
    for path in build.rglob("*"):
        if not path.is_file() or path.suffix not in ("", ".so") or not path.stat().st_mode & 0o100:
            continue
        if "meson-" in path.as_posix() or "tests" in path.parts:
            continue
        done = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
        outside.update(re.findall(r"=> (/\S+)", done.stdout))
    return {library for library in outside if not library.startswith(str(build))}


def words_of(folder):
    while folder and folder not in WORDS:
        folder = folder.rpartition("/")[0]
    return folder, WORDS.get(folder, "").split()


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    violations = []
    rooms = collections.defaultdict(set)
    for library in sorted(build.rglob("*.a")):
        folder = library.parent.relative_to(build).as_posix()
        if folder.startswith("tests"):
            continue
        room, words = words_of(folder)
        for symbol in defined(library):
            rooms[symbol].add(room)
            if symbol.partition("_")[0] not in words:
                print(f"note: {library.name}: {symbol} does not begin with a word of `{room or folder}`")
    for symbol, where in rooms.items():
        if len(where) > 1:
            violations.append(f"{symbol} is in {' and '.join(sorted(where))}")
    libraries = linked(build)
    for library in sorted(libraries):
        for symbol in sorted(defined(library, "-D") & rooms.keys()):
            violations.append(f"{symbol} is a symbol of {library} too: one would take the other's place")
    for line in violations:
        print(line)
    if not rooms or not libraries:
        violations.append("")
        print(f"found no library in {build}, or no program: nothing was checked")
    print(f"{len(rooms)} symbols, {len(libraries)} libraries, {len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
