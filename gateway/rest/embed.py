#!/usr/bin/python3
"""Writes files into a C source: embed.py OUTPUT NAME=FILE..."""
import sys

out = ['#include "gateway/rest/embedded.h"\n']
for item in sys.argv[2:]:
    name, path = item.split("=", 1)
    with open(path, "rb") as file:
        data = file.read()
    out.append(f"const size_t embedded_{name}_len = {len(data)};\n")
    out.append(f"const unsigned char embedded_{name}[] = {{\n")
    for at in range(0, len(data), 24):
        out.append("    " + ",".join(str(b) for b in data[at:at + 24]) + ",\n")
    out.append("};\n")
with open(sys.argv[1], "w") as file:
    file.write("".join(out))
