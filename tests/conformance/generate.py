"""Random rows for the differential test: tables with a column of every type and charset, and values
that are as ugly as those of hospitals. Everything comes from one seeded generator.

    Made(name, declared, column, write, read): a column of a table. `write` is the SQL literal of a
    random value, `read` the SQL expression by which the database itself tells its bytes.
"""

import dataclasses
import datetime
import functools
import json
import math
import struct
import typing

from tests.conformance import conversion
from tests.conformance.conversion import Column


@dataclasses.dataclass
class Made:
    name: str
    declared: str
    column: Column
    write: typing.Callable  # of the random generator
    options: str = ""       # further words of the mapping's field
    # What an ODBC driver makes of the raw text, where docs/connectors.md says that it does.
    by_odbc: typing.Callable = None


# --- texts ---


@functools.lru_cache(None)
def repertoire(charset):
    """Every character that the charset has, as bytes."""
    if charset == "cp932":
        found = [bytes([a, b]) for a in range(0x81, 0xFD) for b in range(0x40, 0xFD)
                 if conversion.cp932_lengths(bytes([a, b]), 0) == 2 and conversion.cp932(bytes([a, b]))]
        return found + [bytes([b]) for b in (*range(0x20, 0x7F), *range(0xA1, 0xE0))]
    if charset == "euc-jp":
        sets = [bytes([a, b]) for a in range(0xA1, 0xFF) for b in range(0xA1, 0xFF)]
        sets += [b"\x8f" + pair for pair in sets] + [bytes([0x8E, b]) for b in range(0xA1, 0xE0)]
        return [raw for raw in sets if conversion.euc_jp(raw)] + [bytes([b]) for b in range(0x20, 0x7F)]
    if charset == "latin1":
        return [bytes([b]) for b in range(0x20, 0x100)]
    if charset == "ascii":
        return [bytes([b]) for b in range(0x20, 0x7F)]
    points = [*range(0x20, 0x7F), *range(0x3041, 0x3097), *range(0x30A1, 0x30FB), *range(0x4E00, 0x9FA6),
              *range(0xE000, 0xE758), 0xFF5E, 0x301C, 0x2015, 0xFF0D, 0x00A5, 0x203E, 0xFFFD, 0xFEFF, 0xFFFF,
              0x2028, 0x7F]
    if charset not in ("utf-8-bmp", "ucs2"):
        points += [0x20BB7, 0x1F600, 0xE0100, 0x2A6D6, 0x10FFFD]
    codec = {"utf-8-bmp": "utf-8", "ucs2": "utf-16-be"}.get(charset, charset)
    if charset == "iso-2022-jp":
        # What converters disagree about is left out here: ICU and Python are two of them.
        return [c.encode(codec) for c in map(chr, points) if c not in "～〜―－¥‾" and can(c, "iso2022_jp")]
    return [chr(point).encode(codec) for point in points]


def can(text, codec):
    try:
        return bool(text.encode(codec))
    except UnicodeEncodeError:
        return False


COMMON = "患者山田太郎①㈱髙﨑～－ソ表十予能ｱｲｳﾊﾟ投与 5mg \\|'\"`/,\t\n"


@functools.lru_cache(None)
def common(charset):
    codec = {"cp932": "cp932", "euc-jp": None, "utf-8-bmp": "utf-8", "ucs2": "utf-16-be"}.get(charset, charset)
    if charset == "euc-jp":
        return [raw for raw in map(conversion.UTF8_TO_EUC, (c.encode() for c in COMMON)) if raw]
    return [c.encode(codec) for c in COMMON if charset != "iso-2022-jp" and can(c, codec)] or [b"x"]


def text_bytes(rng, charset, most=40):
    """Valid text of a charset."""
    if charset == "iso-2022-jp":
        pool = [c for c in map(chr, range(0x4E00, 0x9FA6)) if can(c, "iso2022_jp")] if rng.random() < .01 else "診療録 abc"
        return "".join(rng.choice(pool) for _ in range(rng.randrange(most))).encode("iso2022_jp")
    size = rng.choice((0, 1, 2, rng.randrange(most), rng.randrange(most), most))
    if rng.random() < 0.5:
        return b"".join(rng.choices(common(charset), k=size))
    return b"".join(rng.choices(repertoire(charset), k=size))


def dirty_bytes(rng, charset, most=24):
    """Text with anything in it."""
    if rng.random() < 0.3:
        return rng.randbytes(rng.randrange(most)).replace(b"\0", b"0")
    raw = bytearray(text_bytes(rng, charset, most))
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(raw) + 1)
        if rng.random() < 0.5:
            raw[at:at] = bytes([rng.randrange(0x80, 0x100)])
        else:
            del raw[at:at + 1]
    return bytes(raw)


# --- numbers, times ---


def integer(bits, signed=True):
    def make(rng):
        value = rng.getrandbits(bits) >> rng.randrange(bits)
        value = rng.choice((value, 2**bits - 1, 0)) if rng.random() < 0.05 else value
        if signed:
            value = max(-2**(bits - 1), min(2**(bits - 1) - 1, value - rng.choice((0, 2**(bits - 1)))))
        return str(value)
    return make


def exact(digits, scale):
    def make(rng):
        whole = "".join(rng.choices("0123456789", k=rng.randrange(1, digits - scale + 1)))
        fraction = "".join(rng.choices("0123456789", k=rng.randrange(scale + 1)))
        return rng.choice(("", "-")) + whole + ("." + fraction if fraction else "")
    return make


def double(rng):
    kind = rng.randrange(5)
    if kind == 0:
        value = struct.unpack(">d", rng.randbytes(8))[0]
    elif kind == 1:
        value = math.ldexp(1, rng.randrange(-1022, 1023)) * rng.choice((1, -1))
    elif kind == 2:
        value = float(rng.randrange(-10**6, 10**6))
    else:
        value = rng.randrange(10**rng.randrange(1, 18)) / 10**rng.randrange(0, 12)
    return value if math.isfinite(value) and (value == 0 or abs(value) > 1e-307) else double(rng)


def single(rng):
    value = struct.unpack(">f", struct.pack(">f", rng.uniform(-1e6, 1e6) * 10.0**rng.randrange(-20, 20)))[0]
    return repr(value)


def clock(rng, fraction=0):
    text = rng.choice(("00:00:00", "23:59:59")) if rng.random() < 0.2 else \
        f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}"
    return text + (f".{rng.randrange(10**fraction):0{fraction}}" if fraction and rng.random() < 0.5 else "")


def day(rng, first=1, last=9999):
    if rng.random() < 0.1:
        year, month, of_month = rng.choice(((first, 1, 1), (last, 12, 31), (2000, 2, 29), (1999, 12, 31)))
        return f"{year:04}-{month:02}-{of_month:02}"
    low = datetime.date(first, 1, 1).toordinal()
    high = datetime.date(last, 12, 31).toordinal()
    if rng.random() < 0.7:
        low, high = max(low, 693596), min(high, 740000)  # of people who live
    return datetime.date.fromordinal(rng.randrange(low, high + 1)).isoformat()


def zero_day(rng):
    return rng.choice(("0000-00-00", "2020-00-00", "2011-03-00", "2011-00-24")) if rng.random() < 0.1 else day(rng)


WIDE = str.maketrans("0123456789-/.", "０１２３４５６７８９－／．")
ERA_LETTERS = [("明治", "明", "M", 1867), ("大正", "大", "T", 1911), ("昭和", "昭", "S", 1925),
               ("平成", "平", "H", 1988), ("令和", "令", "R", 2018)]


def kanji_number(value):
    digits = "〇一二三四五六七八九"
    tens = ("" if value < 20 else digits[value // 10]) + ("十" if value > 9 else "")
    return tens + ("" if value > 9 and value % 10 == 0 else digits[value % 10])


def written_day(rng):
    """A date as people write it, now and then no date at all."""
    y, m, d = (int(part) for part in day(rng, 1800, 2100).split("-"))
    if rng.random() < 0.6:
        kanji, short, letter, before = rng.choice(ERA_LETTERS)
        year = y - before if 0 < y - before < 100 else rng.randrange(1, 70)
        head = rng.choice((kanji, short, letter, letter.lower(), letter + "."))
        form = rng.randrange(5)
        if form == 0:
            text = f"{head}{'元' if year == 1 else year}年{m}月{d}日"
        elif form == 1:
            text = f"{head}{kanji_number(year)}年{kanji_number(m)}月{kanji_number(d)}日"
        elif form == 2:
            text = f"{head}{year:02}{m:02}{d:02}"
        else:
            sign = rng.choice("/-.")
            text = f"{head}{year}{sign}{m}{sign}{d}"
    else:
        sign = rng.choice("/-.")
        text = rng.choice((f"{y}{sign}{m}{sign}{d}", f"{y:04}{m:02}{d:02}", f"{y}年{m}月{d}日",
                           f"{y:04}{m:02}{d:02}{clock(rng).replace(':', '')}", "0000/00/00", "00000000"))
    if rng.random() < 0.2:
        text = text.translate(WIDE)
    if rng.random() < 0.2:
        text += " " + clock(rng)[:rng.choice((5, 8))]
    if rng.random() < 0.2:
        text = rng.choice((" ", "　", "  ")) + text + rng.choice(("", " ", "　"))
    if rng.random() < 0.02:
        text = rng.choice(("", " ", "不明", "2011/2/30", "平成", "S64.1", "R6/13/1", text + "頃"))
    return text


def written_number(rng):
    text = exact(12, 4)(rng)
    if rng.random() < 0.3:
        text = text.translate(WIDE)
    if rng.random() < 0.2:
        text = rng.choice((" ", "　")) + text + " "
    if rng.random() < 0.03:
        text = rng.choice(("", "  ", "1,000", "5mg", "ー", "1e3", "NaN", "+7"))
    return text


def written_bool(rng):
    words = ("t", "f", "true", "FALSE", "True", "1", "0", "y", "N", "yes", "No", " 1 ", "１")
    return rng.choice(("", "有", "2")) if rng.random() < 0.02 else rng.choice(words)


def json_text(rng, escapes=True):
    """escapes: characters also as \\uXXXX."""
    def value(depth):
        kind = rng.randrange(8 if depth < 3 else 6)
        if kind == 0:
            return rng.choice(("null", "true", "false"))
        if kind == 1:
            return str(rng.randrange(-2**53 + 1, 2**53))
        if kind == 2:
            return repr(rng.randrange(10**9) / 10**rng.randrange(9))
        if kind == 3:
            return rng.choice(("1.0", "-0", "1E3", "12345678901234567890", "0.10")) if rng.random() < 0.2 else "7"
        if kind <= 5:
            text = "".join(rng.choices("abc表十髙\\\"/\n\t😀é", k=rng.randrange(6)))
            return json.dumps(text, ensure_ascii=escapes and rng.random() < 0.3)
        if kind == 6:
            return "[" + ", ".join(value(depth + 1) for _ in range(rng.randrange(4))) + "]"
        names = rng.sample(["b", "a", "表", "😀", "é", "", "a b"], k=rng.randrange(5))
        if names and rng.random() < 0.03:
            names.append(names[0])
        return "{" + " ,".join(f"{json.dumps(n, ensure_ascii=False)} : {value(depth + 1)}" for n in names) + "}"
    return value(0)


def array_text(rng, item, depth=0):
    def one():
        if rng.random() < 0.1:
            return "NULL"
        return '"' + item(rng).replace("\\", "\\\\").replace('"', '\\"') + '"'
    if depth == 0 and rng.random() < 0.2:
        width = rng.randrange(1, 4)
        return "{" + ",".join("{" + ",".join(one() for _ in range(width)) + "}" for _ in range(rng.randrange(1, 3))) + "}"
    return "{" + ",".join(one() for _ in range(rng.randrange(4))) + "}"
