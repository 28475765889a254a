#!/usr/bin/env python3
"""The normalizer against other implementations: Python's codecs, numbers and JSON, glibc's iconv,
and V8 where Node.js is there. usage: oracle.py PROBE [ROWS]"""

import base64
import ctypes
import decimal
import json
import math
import random
import shutil
import struct
import subprocess
import sys
import tempfile

PROBE = sys.argv[1]
ROWS = int(sys.argv[2]) if len(sys.argv) > 2 else 4000
decimal.getcontext().prec = 2000


def ask(*args, lines=()):
    text = "".join(line + "\n" for line in lines)
    done = subprocess.run([PROBE, *args], input=text.encode(), stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().split("\n")[:-1]


def check(what, found, expected):
    if found != expected:
        sys.exit(f"FAILED {what}\n  found    {found!r}\n  expected {expected!r}")


# --- charsets ---


def cp932(raw):
    """Python's codec; what we do otherwise is written here."""
    if len(raw) == 1 and raw[0] in (0x80, 0xA0, 0xFD, 0xFE, 0xFF):
        return None  # Python: U+0080 and U+F8F0 to U+F8F3; nobody assigned them
    try:
        text = raw.decode("cp932")
    except UnicodeDecodeError:
        return None
    if any(ord(c) in (0x80, 0xF8F0, 0xF8F1, 0xF8F2, 0xF8F3) for c in text):
        return None
    return text


class Iconv:
    """glibc's EUC-JP-MS, by the C library."""

    def __init__(self, charset):
        self.libc = ctypes.CDLL(None)
        self.libc.iconv_open.restype = ctypes.c_void_p
        self.libc.iconv.restype = ctypes.c_size_t
        self.libc.iconv.argtypes = [ctypes.c_void_p] * 5
        self.handle = self.libc.iconv_open(b"UTF-8", charset)

    def __call__(self, raw):
        source = ctypes.create_string_buffer(raw, len(raw))
        target = ctypes.create_string_buffer(32)
        source_at = ctypes.c_void_p(ctypes.addressof(source))
        target_at = ctypes.c_void_p(ctypes.addressof(target))
        source_left = ctypes.c_size_t(len(raw))
        target_left = ctypes.c_size_t(32)
        self.libc.iconv(self.handle, None, None, None, None)
        result = self.libc.iconv(self.handle, ctypes.byref(source_at), ctypes.byref(source_left),
                                 ctypes.byref(target_at), ctypes.byref(target_left))
        if result == ctypes.c_size_t(-1).value or source_left.value:
            return None
        return target.raw[:32 - target_left.value].decode()


def charsets():
    """Every single byte and every pair; for EUC-JP every triple too."""
    iconv = Iconv(b"EUC-JP-MS")

    def euc(raw):
        if 0x80 <= raw[0] <= 0x9F and raw[0] not in (0x8E, 0x8F):
            return None  # glibc: the C1 controls; PostgreSQL refuses them
        return iconv(raw)

    for name, oracle in (("cp932", cp932), ("euc-jp", euc)):
        count = 0
        for line in ask("charset", name):
            raw, found = line.split(" ")
            expected = oracle(bytes.fromhex(raw))
            shown = "-" if expected is None else expected.encode().hex()
            check(f"{name} {raw}", found, shown)
            count += 1
        print(f"{name}: {count} sequences")


# --- numbers ---


def es6(value):
    """ECMAScript's Number::toString, on Python's shortest digits."""
    if value == 0:
        return "0"
    sign, digits, exponent = decimal.Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits))
    stripped = text.rstrip("0")
    exponent += len(text) - len(stripped)
    text, k, n = stripped, len(stripped), len(stripped) + exponent
    minus = "-" if sign else ""
    if k <= n <= 21:
        return minus + text + "0" * (n - k)
    if 0 < n <= 21:
        return minus + text[:n] + "." + text[n:]
    if -6 < n <= 0:
        return minus + "0." + "0" * -n + text
    mantissa = text[0] + ("." + text[1:] if k > 1 else "")
    return f"{minus}{mantissa}e{'+' if n > 0 else '-'}{abs(n - 1)}"


def random_double(rng):
    while True:
        kind = rng.randrange(4)
        if kind == 0:
            value = struct.unpack(">d", rng.randbytes(8))[0]
        elif kind == 1:
            value = math.ldexp(1, rng.randrange(-1074, 1024)) * rng.choice((1, -1))
        elif kind == 2:
            value = rng.randrange(10**rng.randrange(1, 18)) / 10**rng.randrange(0, 12)
        else:
            value = math.nextafter(math.ldexp(1, rng.randrange(-1000, 1000)), rng.choice((0, 1e308)))
        if math.isfinite(value):
            return value


def doubles(rng):
    values = [5e-324, 1.7976931348623157e308, 2.2250738585072014e-308, 9007199254740993.0, 1e21,
              1e-6, 1e-7, 123456789012345680000.0, 0.1, 1 / 3, -0.0]
    values += [random_double(rng) for _ in range(20000)]
    bits = [struct.pack(">d", value).hex() for value in values]
    found = ask("double", lines=bits)
    for value, text in zip(values, found):
        check(f"double {value!r}", text, es6(value))
    print(f"doubles: {len(values)} against Python")
    node = shutil.which("node") or shutil.which("nodejs")
    if node is None:
        print("doubles: no Node.js here, V8 was not asked")
        return
    script = ("const b=Buffer.alloc(8);for(const l of require('fs').readFileSync(0,'utf8').trim()"
              ".split('\\n')){b.write(l,'hex');console.log(JSON.stringify(b.readDoubleBE()))}")
    answer = subprocess.run([node, "-e", script], input="\n".join(bits).encode(), check=True,
                            stdout=subprocess.PIPE).stdout.decode().splitlines()
    for value, text, v8 in zip(values, found, answer):
        check(f"double {value!r} by V8", text, v8)
    print(f"doubles: {len(values)} against V8")


def expected_number(text):
    """(is a JSON number, its text or None where only the value is fixed)"""
    exact = decimal.Decimal(text)
    nearest = float(text)
    if exact == 0:
        return True, "0"
    if not math.isfinite(nearest) or nearest == 0:
        return False, None
    whole = exact == exact.to_integral_value()
    if whole and abs(exact) > 2**53 - 1:
        return False, None
    printed = es6(nearest)
    return (True, printed) if decimal.Decimal(printed) == exact else (False, None)


def random_decimal(rng):
    digits = "".join(rng.choice("0123456789") for _ in range(rng.choice((1, 3, 8, 15, 16, 17, 18, 40))))
    if rng.random() < 0.3:
        digits = "0" * rng.randrange(4) + digits + "0" * rng.randrange(20)
    sign = rng.choice(("", "-"))
    if rng.random() < 0.6:
        at = rng.randrange(len(digits) + 1)
        digits = (digits[:at] or "0") + "." + (digits[at:] or "0")
    exponent = f"e{rng.choice(('', '+', '-'))}{rng.randrange(400):02}" if rng.random() < 0.2 else ""
    return sign + digits + exponent


def decimals(rng):
    texts = ["9007199254740991", "9007199254740992", "-9007199254740992", "0.1", "12.50", "-0",
             "00012", "0.0000001", "1e21", "1e-7", "18446744073709551615", "9" * 65,
             "0." + "9" * 30, "123456789012345678901234567890.12345", "1e400", "1e-400", ".5", "5."]
    texts += [random_decimal(rng) for _ in range(20000)]
    for text, line in zip(texts, ask("decimal", lines=texts)):
        form, _, found = line.partition(" ")
        is_number, printed = expected_number(text)
        check(f"decimal {text} is a JSON number", form == "J", is_number)
        if printed is not None:
            check(f"decimal {text}", found, printed)
        check(f"decimal {text} keeps its value", decimal.Decimal(found), decimal.Decimal(text))
    for text in ("", "-", ".", "1e", "1e+", "0x10", "1 ", "1,000", "--1", "1.2.3", "e5"):
        check(f"decimal {text!r}", ask("decimal", lines=[text])[0].strip(), "B")
    for text in ("NaN", "Infinity", "-Infinity"):
        check(f"decimal {text!r}", ask("decimal", lines=[text])[0].strip(), "S")
    print(f"decimals: {len(texts)}")


# --- canonical JSON ---


def canonical(value):
    """RFC 8785, written for this test alone."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return es6(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
    return "{" + ",".join(f"{canonical(n)}:{canonical(value[n])}" for n in names) + "}"


def random_text(rng):
    pools = ("abc \"\\/\b\f\n\r\t\x01\x1f\x7f", "表十ソ①髙～", "\u20ac\ufb33\U0001f600\ue000\uffff\u2028")
    return "".join(rng.choice(rng.choice(pools)) for _ in range(rng.randrange(8)))


def random_json(rng, depth=0):
    kind = rng.randrange(7 if depth < 4 else 5)
    if kind == 0:
        return rng.choice((None, True, False))
    if kind == 1:
        return rng.randrange(-2**53 + 1, 2**53)
    if kind == 2:
        while True:
            value = random_double(rng)
            if not (value.is_integer() and abs(value) > 2**53 - 1):
                return value
    if kind <= 4:
        return random_text(rng)
    if kind == 5:
        return [random_json(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {random_text(rng): random_json(rng, depth + 1) for _ in range(rng.randrange(5))}


def jsons(rng):
    values = [random_json(rng) for _ in range(5000)]
    texts = [json.dumps(v, ensure_ascii=rng.random() < 0.5, separators=rng.choice(((", ", " : "), None)))
             for v in values]
    for value, text, found in zip(values, texts, ask("json", lines=texts)):
        check(f"json {text}", found, canonical(value))
    wrong = ("", "[", "{", "[1,]", "{\"a\":1,}", "{\"a\":1,\"a\":2}", "01", "1.", ".1", "+1", "nul",
             "\"\\ud800\"", "\"\\udc00x\"", "\"\\x\"", "'a'", "[1] 2", "NaN", "-", "1e", "[" * 100, "\"a")
    for text, found in zip(wrong, ask("json", lines=wrong)):
        check(f"json {text}", found, "no")
    check("json inexact", ask("json", lines=["[12345678901234567890]"]), ["inexact"])
    print(f"json: {len(texts)}")


# --- rows ---

OTHER, TEXT, INTEGER, DECIMAL, FLOAT, BOOL, DATE, TIME, TIMESTAMP, ZONE, YEAR, BINARY, BIT, JSON = range(14)
COLUMNS = (
    (INTEGER, "cp932", 0), (TEXT, "cp932", 0), (TEXT, "euc-jp", 0), (TEXT, "utf-8", 0),
    (DECIMAL, "ascii", 0), (FLOAT, "ascii", 0), (BOOL, "ascii", 1), (DATE, "ascii", 0),
    (TIMESTAMP, "ascii", 0), (ZONE, "ascii", 0), (BINARY, "binary", 0), (BIT, "ascii", 8),
    (BIT, "ascii", 1), (JSON, "utf-8", 0), (TIME, "ascii", 0), (TEXT, "cp932", 0), (TEXT, "latin1", 0),
)
MAPPING = """source: s
connector: c
invalid_text: replace
time_zone: "+09:00"
tables: [{table: t, category: EMR02, key: c00}]
"""


def decoded(raw, one, lengths):
    """Character by character with an oracle of single sequences; what is none is U+FFFD."""
    text, at = "", 0
    while at < len(raw):
        for length in lengths(raw, at):
            character = one(raw[at:at + length]) if at + length <= len(raw) else None
            if character is not None:
                break
        else:
            character, length = "\ufffd", (lengths(raw, at) or [1])[-1]
        text, at = text + character, at + length
    return text


def cp932_lengths(raw, at):
    lead = 0x81 <= raw[at] <= 0x9F or 0xE0 <= raw[at] <= 0xFC
    trail = raw[at + 1] if at + 1 < len(raw) else 0
    return [2] if lead and 0x40 <= trail <= 0xFC and trail != 0x7F else [1]


def cp932_one(raw):
    return None if len(raw) == 1 and (0x81 <= raw[0] <= 0x9F or 0xE0 <= raw[0]) else cp932(raw)


def euc_lengths(raw, at):
    def in_set(i):
        return i < len(raw) and 0xA1 <= raw[i] <= 0xFE
    if raw[at] == 0x8F and in_set(at + 1) and in_set(at + 2):
        return [3]
    if raw[at] == 0x8E and at + 1 < len(raw) and 0xA1 <= raw[at + 1] <= 0xDF:
        return [2]
    return [2] if in_set(at) and in_set(at + 1) else [1]


def random_bytes(rng, charset):
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(rng.randrange(24))
    pool = "漢字表十ソ能予約①㈱髙﨑～ｱｲｳ患者様 123-45 Abc\"\\\n\t/" * 3 + "éü€"
    text = "".join(rng.choice(pool) for _ in range(rng.randrange(40)))
    return text.encode({"cp932": "cp932", "euc-jp": "euc_jp", "utf-8": "utf-8", "latin1": "cp1252"}[charset],
                       "ignore")


def random_date(rng):
    return rng.choice(("0000-00-00", "2020-00-10", "0001-01-01", "9999-12-31")) if rng.random() < 0.1 else \
        f"{rng.randrange(1, 10000):04}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"


def random_cell(rng, kind, charset, bits):
    if rng.random() < 0.05 and bits >= 0:
        return None
    if kind == TEXT:
        return random_bytes(rng, charset)
    if kind == BINARY:
        return rng.randbytes(rng.randrange(20))
    if kind == JSON:
        return json.dumps(random_json(rng), ensure_ascii=False).encode()
    time = f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}{rng.choice(('', '.5', '.000'))}"
    return {
        INTEGER: lambda: str(rng.randrange(-2**63, 2**64) >> rng.randrange(64)),
        DECIMAL: lambda: random_decimal(rng).split("e")[0],
        FLOAT: lambda: rng.choice(("NaN", "Infinity", repr(random_double(rng)))),
        BOOL: lambda: rng.choice(("t", "f", "1", "0", "true", "false")),
        DATE: lambda: random_date(rng),
        TIME: lambda: time,
        TIMESTAMP: lambda: f"{random_date(rng)} {rng.choice(('00:00:00', time))}",
        ZONE: lambda: f"{random_date(rng)} {time}{rng.choice(('+00', '+00:00', '-05:30', '+09'))}",
        BIT: lambda: "".join(rng.choice("01") for _ in range(bits)),
    }[kind]().encode()


def day(text):
    year, month, rest = text.split("-", 2)
    return int(year), int(month), int(rest[:2])


def zone_day(text):
    """The day in Japan, by Python's own calendar; None where it leaves the years 1 to 9999."""
    import datetime
    date, _, clock = text.partition(" ")
    at = max(clock.find("+"), clock.find("-"))
    zone, clock = clock[at:], clock[:at]
    hours, minutes, seconds = clock.split(":")
    offset = int(zone[1:3]) * 60 + (int(zone[4:6]) if len(zone) > 3 else 0)
    offset = -offset if zone[0] == "-" else offset
    try:
        moment = datetime.datetime(*day(date), int(hours), int(minutes))
        moment += datetime.timedelta(minutes=540 - offset)
    except OverflowError:
        return None
    return moment.strftime("%Y").rjust(4, "0") + moment.strftime("/%m/%d")


def expected_value(raw, kind, charset, bits, iconv):
    if raw is None:
        return "null"
    if kind == TEXT:
        text = {"cp932": lambda: decoded(raw, cp932_one, cp932_lengths),
                "euc-jp": lambda: decoded(raw, iconv, euc_lengths),
                "utf-8": lambda: raw.decode("utf-8", "replace"),
                "latin1": lambda: "".join(bytes([b]).decode("cp1252", "ignore") or chr(b) for b in raw)}[charset]()
        return canonical(text)
    if kind == BINARY:
        return canonical(base64.b64encode(raw).decode())
    text = raw.decode()
    if kind == JSON:
        return canonical(canonical(json.loads(text)))
    if kind in (INTEGER, DECIMAL, FLOAT):
        if text in ("NaN", "Infinity"):
            return canonical(text)
        is_number, printed = expected_number(text)
        return printed if is_number else ("exact", decimal.Decimal(text))
    if kind == BOOL:
        return "true" if text in ("t", "1", "true") else "false"
    if kind == BIT:
        return {"0": "false", "1": "true"}[text] if bits == 1 else canonical(text)
    if kind == TIME:
        return canonical(text)
    year, month, of_month = day(text)
    if month == 0 or of_month == 0:
        return "null"
    if kind == ZONE:
        shown = zone_day(text)
        return canonical(text if shown is None else shown)
    return canonical(f"{year:04}/{month:02}/{of_month:02}")


def euc_one(iconv):
    def one(raw):
        if len(raw) == 1 and raw[0] >= 0x80:
            return None
        return iconv(raw)
    return one


def rows(rng):
    iconv = euc_one(Iconv(b"EUC-JP-MS"))
    table = [[random_cell(rng, *column) if i else str(row).encode() for i, column in enumerate(COLUMNS)]
             for row in range(ROWS)]
    lines = [" ".join("-" if cell is None else cell.hex() for cell in cells) for cells in table]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as mapping:
        mapping.write(MAPPING)
        mapping.flush()
        answers = ask("rows", mapping.name, *(f"{k}:{c}:{b}" for k, c, b in COLUMNS), lines=lines)
    check("rows", len(answers), len(table))
    for cells, answer in zip(table, answers):
        document = answer.split("\t")[0]
        members = []
        parsed = json.loads(document, parse_float=str, parse_int=str)
        for i, (cell, column) in enumerate(zip(cells, COLUMNS)):
            value = expected_value(cell, *column, iconv)
            if isinstance(value, tuple):  # an exact decimal: its value is fixed, and that it is a text
                found = parsed["fields"][f"c{i:02}"]
                check(f"row {cells[0]} c{i:02} {cell}", decimal.Decimal(found), value[1])
                value = canonical(found)
            members.append(f'"c{i:02}":{value}')
        key = cells[0].decode()
        expected = f'{{"address":"renkei://h/s/t/{key}","category":"EMR02","fields":{{{",".join(members)}}}}}'
        check(f"row {cells}", document, expected)
        check(f"row {key} is canonical", document, canonical(json.loads(document)))
    print(f"rows: {len(table)}, {len(table) * len(COLUMNS)} values")


if __name__ == "__main__":
    seed = 20260101
    charsets()
    for part in (doubles, decimals, jsons, rows):
        part(random.Random(seed))
