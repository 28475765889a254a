"""What docs/types.md says that a raw value becomes, written a second time: by Python's own codecs,
decimals, floats, calendar and JSON, and glibc's iconv. No line of the normalizer is used or copied, so
that a difference is a mistake on one of the two sides.

    convert(Column(kind, charset), raw) -> Converted(json, type, reasons)

A quarantined value has json None.
"""

import base64
import ctypes
import dataclasses
import datetime
import decimal
import functools
import json
import math
import re
import unicodedata

decimal.getcontext().prec = 5000
decimal.getcontext().Emax = decimal.MAX_EMAX
decimal.getcontext().Emin = decimal.MIN_EMIN

TEXTS = ("text", "other", "json", "array", "enum", "money", "geometry")
NUMBERS = ("integer", "decimal", "float", "year")
DATES = ("date", "timestamp", "zone")


@dataclasses.dataclass(frozen=True)
class Column:
    kind: str
    charset: str = "ascii"
    bits: int = 0
    mapped: str = ""       # the mapping's `type:`
    era: str = "none"
    offset_minutes: int = 0
    replaces: bool = True  # `invalid_text: replace`


@dataclasses.dataclass
class Converted:
    json: str
    type: str
    reasons: set


class Quarantine(Exception):
    """The row is kept aside, for this reason."""


# --- characters ---


class Iconv:
    """One direction of glibc's iconv, a sequence at a time."""

    def __init__(self, to, source):
        self.libc = ctypes.CDLL(None)
        self.libc.iconv_open.restype = ctypes.c_void_p
        self.libc.iconv.restype = ctypes.c_size_t
        self.libc.iconv.argtypes = [ctypes.c_void_p] * 5
        self.handle = self.libc.iconv_open(to, source)

    def __call__(self, data):
        source, target = ctypes.create_string_buffer(data, len(data)), ctypes.create_string_buffer(32)
        at, to = ctypes.c_void_p(ctypes.addressof(source)), ctypes.c_void_p(ctypes.addressof(target))
        left, room = ctypes.c_size_t(len(data)), ctypes.c_size_t(32)
        self.libc.iconv(self.handle, None, None, None, None)
        result = self.libc.iconv(self.handle, ctypes.byref(at), ctypes.byref(left), ctypes.byref(to),
                                 ctypes.byref(room))
        good = result != ctypes.c_size_t(-1).value and left.value == 0
        return target.raw[:32 - room.value] if good else None


# Which of two byte forms a character goes back to: as Windows and ICU have it. Python prefers the other.
UTF8_TO_CP932 = Iconv(b"CP932", b"UTF-8")
EUC_TO_UTF8 = Iconv(b"UTF-8", b"EUC-JP-MS")
UTF8_TO_EUC = Iconv(b"EUC-JP-MS", b"UTF-8")


@functools.lru_cache(None)
def cp932(raw):
    """One sequence: (character, whether it comes back), or None."""
    if len(raw) == 1 and raw[0] in (0x80, 0xA0, 0xFD, 0xFE, 0xFF):
        return None  # Python has U+0080 and private characters here; nobody assigned them
    try:
        text = raw.decode("cp932")
    except UnicodeDecodeError:
        return None
    return (text, UTF8_TO_CP932(text.encode()) == raw) if len(text) == 1 else None


@functools.lru_cache(None)
def euc_jp(raw):
    if len(raw) == 1 and raw[0] >= 0x80:
        return None  # glibc has the C1 controls; PostgreSQL refuses them
    text = EUC_TO_UTF8(raw)
    return None if text is None else (text.decode(), UTF8_TO_EUC(text) == raw)


def cp932_lengths(raw, at):
    lead = 0x81 <= raw[at] <= 0x9F or 0xE0 <= raw[at] <= 0xFC
    trail = raw[at + 1] if at + 1 < len(raw) else 0
    return 2 if lead and 0x40 <= trail <= 0xFC and trail != 0x7F else 1


def euc_lengths(raw, at):
    def in_set(i):
        return i < len(raw) and 0xA1 <= raw[i] <= 0xFE
    if raw[at] == 0x8F and in_set(at + 1) and in_set(at + 2):
        return 3
    if raw[at] == 0x8E and at + 1 < len(raw) and 0xA1 <= raw[at + 1] <= 0xDF:
        return 2
    return 2 if in_set(at) and in_set(at + 1) else 1


def sequences(raw, lengths, one):
    text, comes_back, at = [], True, 0
    while at < len(raw):
        length = lengths(raw, at)
        found = one(raw[at:at + length])
        text.append(found[0] if found else "\ufffd")
        comes_back = comes_back and (found is None or found[1])
        at += length
    return "".join(text), comes_back


def is_valid(raw, charset):
    """Of the Unicode charsets, in which U+FFFD may be the source's own; in the others it cannot."""
    try:
        return charset.startswith("utf") and bool(raw.decode(charset))
    except UnicodeDecodeError:
        return False


def decode(raw, charset):
    """(text, reasons)"""
    comes_back = True
    if charset in ("cp932", "sjis"):
        text, comes_back = sequences(raw, cp932_lengths, cp932)
    elif charset == "euc-jp":
        text, comes_back = sequences(raw, euc_lengths, euc_jp)
    elif charset == "latin1":
        text = "".join(bytes([b]).decode("cp1252", "ignore") or chr(b) for b in raw)
    elif charset == "iso-2022-jp":
        text = raw.decode("iso2022_jp", "replace")
    else:
        text = raw.decode(charset, "replace")
    reasons = set()
    if "\ufffd" in text and not is_valid(raw, charset):
        reasons.add("invalid-bytes")
    if not comes_back:
        reasons.add("not-round-trip")
    if any("\ue000" <= c <= "\uf8ff" for c in text):
        reasons.add("gaiji")
    return text, reasons


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


NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
SPECIAL = ("NaN", "Infinity", "-Infinity", "+Infinity", "nan", "inf", "-inf", "-nan")


def number(text, reasons):
    """(json, type)"""
    if text in SPECIAL:
        reasons.add("not-a-number")
        return quoted(text), "string"
    if not NUMBER.fullmatch(text):
        raise Quarantine("type")
    exact = decimal.Decimal(text)
    if exact == 0:
        return "0", "number"
    nearest = float(text)
    whole = exact == exact.to_integral_value()
    if math.isfinite(nearest) and nearest != 0 and not (whole and abs(exact) > 2**53 - 1):
        printed = es6(nearest)
        if decimal.Decimal(printed) == exact:
            return printed, "number"
    reasons.add("big-number")
    return quoted(format(exact.normalize(), "f")), "number"


# --- JSON ---


def quoted(text):
    return json.dumps(text, ensure_ascii=False)


class NotCanonical(Exception):
    """A JSON text that has no canonical form here."""


class Inexact(Exception):
    """A JSON text with a number that a double does not carry."""


def canonical(value):
    """RFC 8785."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Printed):
        return str(value)
    if isinstance(value, str):
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise NotCanonical
        return quoted(value)
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
    return "{" + ",".join(f"{canonical(n)}:{canonical(value[n])}" for n in names) + "}"


class Printed(str):
    """A number as RFC 8785 prints it."""


def exact_number(text):
    reasons = set()
    printed, _ = number(text, reasons)
    if reasons:
        raise Inexact
    return Printed(printed)


def no_twins(pairs):
    if len({name for name, _ in pairs}) != len(pairs):
        raise NotCanonical
    return dict(pairs)


def no_constant(_):
    raise NotCanonical


def json_value(text, reasons):
    try:
        value = json.loads(text, parse_int=exact_number, parse_float=exact_number,
                           parse_constant=no_constant, object_pairs_hook=no_twins)
        return quoted(canonical(value))
    except (ValueError, NotCanonical, RecursionError):
        reasons.add("not-canonical")
    except Inexact:
        reasons.add("big-number")
    return quoted(text)


ARRAY_TOKEN = re.compile(r'\s*(?:([{},])|"((?:[^"\\]|\\.)*)"|((?:[^{},"\\\s]|\\.)(?:[^{},"\\]|\\.)*))', re.S | re.A)


def array_value(text, reasons):
    """PostgreSQL's array text."""
    tokens, at = [], 0
    while at < len(text):
        found = ARRAY_TOKEN.match(text, at)
        if not found or text.startswith("["):
            reasons.add("not-canonical")
            return quoted(text)
        at = found.end()
        sign, inside, bare = found.groups()
        if sign:
            tokens.append(sign)
        elif bare is not None and bare.strip().upper() == "NULL":
            tokens.append((None,))
        else:
            tokens.append((re.sub(r"\\(.)", r"\1", inside if bare is None else bare, flags=re.S),))
    position = 0

    def read():
        nonlocal position
        items, position = [], position + 1
        while tokens[position] != "}":
            if tokens[position] == ",":
                position += 1
            elif tokens[position] == "{":
                items.append(read())
            else:
                items.append(tokens[position][0])
                position += 1
        position += 1
        return items
    return quoted(canonical(read()))


# --- dates ---

ERAS = {
    "明治": (1868, (1873, 1, 1), (1912, 7, 30)), "大正": (1912, (1912, 7, 30), (1926, 12, 25)),
    "昭和": (1926, (1926, 12, 25), (1989, 1, 7)), "平成": (1989, (1989, 1, 8), (2019, 4, 30)),
    "令和": (2019, (2019, 5, 1), (9999, 12, 31)),
}
ERA_WORDS = {word: name for name, words in zip(ERAS, (
    ("明治", "明", "㍾", "M", "m"), ("大正", "大", "㍽", "T", "t"), ("昭和", "昭", "㍼", "S", "s"),
    ("平成", "平", "㍻", "H", "h"), ("令和", "令", "㋿", "R", "r"))) for word in words}
ERA_HEAD = re.compile(r"(明治|大正|昭和|平成|令和|[明大昭平令㍾㍽㍼㍻㋿]|[MTSHRmtshr]\.?) *")
KANJI = {c: i for i, c in enumerate("〇一二三四五六七八九")}
CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d+))?)?"
SOURCE = re.compile(r"(\d{4})-(\d\d)-(\d\d) *(?:[T]?" + CLOCK + r"(?P<zone>Z|[-+]\d\d(?::\d\d)?(?::\d\d)?)?)? *",
                    re.ASCII)
WRITTEN_REST = re.compile(r" *(?:T?" + CLOCK + r")? *", re.ASCII)
DASHES = "\u2010\u2212\u2015\u30fc"


def is_day(year, month, day):
    try:
        datetime.date(year, month, day)
    except ValueError:
        return False
    return True


def shown(day, reasons, dropped):
    if dropped:
        reasons.add("time-dropped")
    return f'"{day.year:04}/{day.month:02}/{day.day:02}"', "date"


def moment(day, found, minutes_east):
    """The day after a time and a zone, and whether a time of day is dropped; None: beyond years 1 to
    9999, or no time."""
    if found.group("hour") is None:
        return day, False
    hour, minute, second = (int(found.group(n) or 0) for n in ("hour", "minute", "second"))
    if hour > 24 or minute > 59 or second > 60 or (hour == 24 and (minute or second)):
        raise Quarantine("type")
    minutes = hour * 60 + minute + minutes_east
    try:
        day += datetime.timedelta(days=minutes // 1440)
    except OverflowError:
        return None
    fraction = (found.group("fraction") or "").strip("0")
    return day, bool(minutes % 1440 or second or fraction)


def source_date(text, column, reasons):
    def out_of_range():
        reasons.add("out-of-range-date")
        return quoted(text), "string"
    if text in ("infinity", "-infinity") or " BC" in text or re.match(r"\d{5,7}-", text):
        return out_of_range()
    found = SOURCE.fullmatch(text)
    if not found:
        raise Quarantine("type")
    year, month, day = (int(part) for part in found.groups()[:3])
    if 0 in (year, month, day):
        reasons.add("zero-date")
        return "null", "empty"
    if not is_day(year, month, day):
        return out_of_range()
    zone, east = found.group("zone"), 0
    if zone or column.kind == "zone":
        east = column.offset_minutes
        if zone and zone != "Z":
            hours, minutes = int(zone[1:3]), int(zone[4:6] or 0)
            east -= (hours * 60 + minutes) * (-1 if zone[0] == "-" else 1)
    at = moment(datetime.date(year, month, day), found, east)
    return out_of_range() if at is None else shown(at[0], reasons, at[1])


def fold(text, reasons):
    out = []
    for c in text:
        point = ord(c)
        folded = (chr(point - 0xFEE0) if 0xFF01 <= point <= 0xFF5E else " " if c in "\u3000\u00a0\t"
                  else "-" if c in DASHES else "." if c == "\u30fb" else c)
        if folded not in (c, " "):
            reasons.add("full-width")
        out.append(folded)
    return "".join(out).strip(" ")


def part(text):
    """One or two digits, or kanji, at the beginning: (value, rest), or None."""
    text = text.lstrip(" ")
    found = re.match(r"\d{1,2}", text, re.ASCII)
    if found:
        return int(found.group()), text[found.end():]
    found = re.match(r"([一二三四五六七八九]?)(十?)([一二三四五六七八九]?)", text)
    tens, ten, units = found.groups()
    if not found.group() or (tens and units and not ten):
        # Two kanji digits without 十 are not one number: the first stands alone.
        return (KANJI[tens], text[1:]) if tens else None
    if ten:
        return (KANJI[tens] if tens else 1) * 10 + (KANJI[units] if units else 0), text[found.end():]
    return KANJI[tens or units], text[found.end():]


def month_day(text):
    """(month, day, rest) behind a year: /3/24, -3-24, .3.24, 年3月24日."""
    text = text.lstrip(" ")
    signs = {"年": ("月", "日"), "/": ("/", ""), "-": ("-", ""), ".": (".", "")}.get(text[:1])
    month = part(text[1:]) if signs else None
    if not month:
        raise Quarantine("type")
    rest = month[1].lstrip(" ") if signs[1] else month[1]
    day = part(rest[1:]) if rest[:1] == signs[0] else None
    if not day:
        raise Quarantine("type")
    rest = day[1].lstrip(" ") if signs[1] else day[1]
    if not rest.startswith(signs[1]):
        raise Quarantine("type")
    return month[0], day[0], rest[len(signs[1]):]


def written_date(original, era, reasons):
    """What people write; docs/types.md, "Dates that people wrote"."""
    folds = set()
    text = fold(original.strip(" \t"), folds)
    if len(original.strip(" \t")) > 64:
        raise Quarantine("type")
    digits = re.match(r"\d*", text, re.ASCII).group()
    overrun = False
    if len(digits) in (8, 14):
        year, month, day, rest = int(digits[:4]), int(digits[4:6]), int(digits[6:8]), ""
        if digits != text:
            raise Quarantine("type")
        if len(digits) == 14:
            hour, minute, second = digits[8:10], digits[10:12], digits[12:14]
            if hour > "23" or minute > "59" or second > "59":
                raise Quarantine("type")
            rest = f"{hour}:{minute}:{second}"
    elif len(digits) == 4:
        year = int(digits)
        month, day, rest = month_day(text[4:])
    else:
        head = ERA_HEAD.match(text) if era != "none" else None
        if not head:
            raise Quarantine("type")
        name = ERA_WORDS[head.group(1).rstrip(".")]
        text = text[head.end():]
        if text.startswith("元"):
            count, rest = 1, text[1:]
            month, day, rest = month_day(rest)
        elif len(re.match(r"\d*", text, re.ASCII).group()) == 6:
            count, month, day, rest = int(text[:2]), int(text[2:4]), int(text[4:6]), text[6:]
        else:
            found = part(text)
            if not found:
                raise Quarantine("type")
            count = found[0]
            month, day, rest = month_day(found[1])
        first, begin, end = ERAS[name]
        year = first + count - 1
        if count < 1 or not is_day(year, month, day) or (year, month, day) < (1873, 1, 1):
            raise Quarantine("type")
        overrun = not begin <= (year, month, day) <= end
    if 0 in (year, month, day):
        reasons.add("zero-date")
        return "null", "empty"
    found = WRITTEN_REST.fullmatch(rest)
    if not found or not is_day(year, month, day):
        raise Quarantine("type")
    at = moment(datetime.date(year, month, day), found, 0)
    if at is None:
        raise Quarantine("type")
    if overrun:
        reasons.add("era-overrun")
        if era == "reject":
            raise Quarantine("type")
        if era == "strict":
            return quoted(original), "string"
    reasons.update(folds)
    return shown(at[0], reasons, at[1])


# --- the matrix ---

TRUTH = {"t": True, "true": True, "1": True, "y": True, "yes": True,
         "f": False, "false": False, "0": False, "n": False, "no": False}


def truth(text):
    word = text if text in TRUTH else text.lower() if text in (text.upper(), text.title()) else None
    if word not in TRUTH:
        raise Quarantine("type")
    return TRUTH[word]


def narrow(text, reasons):
    """Full-width ASCII and blanks as plain ones, blanks around dropped."""
    plain = "".join(unicodedata.normalize("NFKC", c) if "\uff01" <= c <= "\uff5e" else
                    " " if c == "\u3000" else c for c in text)
    if any("\uff01" <= c <= "\uff5e" for c in text):
        reasons.add("full-width")
    return plain.strip(" \t")


def default_type(column):
    if column.kind in NUMBERS:
        return "number"
    if column.kind in DATES:
        return "date"
    return "bool" if column.kind == "bool" or (column.kind == "bit" and column.bits == 1) else "string"


def as_string(column, raw, reasons):
    if column.kind == "binary" or (column.kind in TEXTS and column.charset == "binary"):
        return quoted(base64.b64encode(raw).decode()), "string"
    text, found = decode(raw, column.charset)
    reasons.update(found)
    if column.kind == "json":
        return json_value(text, reasons), "string"
    if column.kind == "array":
        return array_value(text, reasons), "string"
    return quoted(text), "string"


def as_number(column, raw, reasons):
    if column.kind in NUMBERS:
        return number(raw.decode("latin1"), reasons)
    if column.kind == "bool":
        return ("1" if truth(raw.decode("latin1")) else "0"), "number"
    if column.kind == "bit":
        return number(str(int(raw, 2)), reasons)
    if column.kind not in TEXTS:
        raise Quarantine("type")
    text, found = decode(raw, column.charset)
    reasons.update(found)
    folded = set()
    text = narrow(text, folded)
    if not text:
        reasons.add("blank")
        return "null", "empty"
    shown_as, kind = number(text, reasons)
    if kind == "number":
        reasons.update(folded)
    return shown_as, kind


def as_bool(column, raw, reasons):
    text = raw.decode("latin1")
    if column.kind in TEXTS:
        text, found = decode(raw, column.charset)
        reasons.update(found)
        folded = set()
        text = narrow(text, folded)
        if not text:
            reasons.add("blank")
            return "null", "empty"
        reasons.update(folded)
    elif column.kind not in ("bool", "integer", "bit", "decimal"):
        raise Quarantine("type")
    return ("true" if truth(text) else "false"), "bool"


def as_date(column, raw, reasons):
    if column.kind in DATES:
        return source_date(raw.decode("latin1"), column, reasons)
    if column.kind in ("integer", "decimal"):
        if raw == b"0":
            reasons.add("zero-date")
            return "null", "empty"
        return written_date(raw.decode("latin1"), "none", reasons)
    if column.kind not in TEXTS:
        raise Quarantine("type")
    text, found = decode(raw, column.charset)
    reasons.update(found)
    if not text.strip(" \t"):
        reasons.add("blank")
        return "null", "empty"
    return written_date(text, column.era, reasons)


def convert(column, raw):
    """One value; reasons hold why it is not simply what the source says."""
    if raw is None:
        return Converted("null", "empty", set())
    reasons = set()
    how = {"string": as_string, "number": as_number, "date": as_date, "bool": as_bool}
    try:
        text, kind = how[column.mapped or default_type(column)](column, raw, reasons)
    except Quarantine as quarantine:
        reasons.add(str(quarantine))
        text, kind = None, "empty"
    if "invalid-bytes" in reasons and not column.replaces:
        text = None
    return Converted(text, kind, reasons)
