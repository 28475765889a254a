#!/usr/bin/python3
"""Writes the quickstart's data: synthetic Japanese patients, as CSV files in each database's own bytes.

    patients.py FOLDER [--patients N] [--seed N]

Everything is invented, and the same seed gives the same bytes. One patient comes from a published
example: IdentificationID 999-99-9999, whose Table 1 goes to the clinic and Table 2 to the hospital;
the laboratory's record is our own.

The characters are those that lose their meaning elsewhere: ① and ㈱ (NEC row 13), 髙 and 﨑 (IBM
extensions), ～ (0x8160), ソ 表 十 (whose second byte is a backslash), half-width kana, and gaiji
F040 to F044, which a hospital drew itself and which no standard names.
"""

import argparse
import csv
import io
import pathlib
import random

FAMILY = ("佐藤 鈴木 高橋 髙橋 田中 伊藤 渡辺 渡邊 山本 中村 小林 加藤 吉田 山田 佐々木 山口 松本 井上 "
          "木村 林 斎藤 齋藤 清水 山崎 山﨑 森 池田 橋本 阿部 石川 表 十河 能登 曾根 柳 濵田 神﨑").split()
FAMILY_KANA = ("ｻﾄｳ ｽｽﾞｷ ﾀｶﾊｼ ﾀｶﾊｼ ﾀﾅｶ ｲﾄｳ ﾜﾀﾅﾍﾞ ﾜﾀﾅﾍﾞ ﾔﾏﾓﾄ ﾅｶﾑﾗ ｺﾊﾞﾔｼ ｶﾄｳ ﾖｼﾀﾞ ﾔﾏﾀﾞ ｻｻｷ ﾔﾏｸﾞﾁ ﾏﾂﾓﾄ ｲﾉｳｴ "
               "ｷﾑﾗ ﾊﾔｼ ｻｲﾄｳ ｻｲﾄｳ ｼﾐｽﾞ ﾔﾏｻﾞｷ ﾔﾏｻﾞｷ ﾓﾘ ｲｹﾀﾞ ﾊｼﾓﾄ ｱﾍﾞ ｲｼｶﾜ ｵﾓﾃ ｿｺﾞｳ ﾉﾄ ｿﾈ ﾔﾅｷﾞ ﾊﾏﾀﾞ ｶﾝｻﾞｷ").split()
GIVEN = "太郎 花子 一郎 さくら 健 美咲 誠 陽子 翔 結衣 清 節子 ソノ 十和子 貴 希".split()
GIVEN_KANA = "ﾀﾛｳ ﾊﾅｺ ｲﾁﾛｳ ｻｸﾗ ｹﾝ ﾐｻｷ ﾏｺﾄ ﾖｳｺ ｼｮｳ ﾕｲ ｷﾖｼ ｾﾂｺ ｿﾉ ﾄﾜｺ ﾀｶｼ ﾉｿﾞﾐ".split()
TOWN = ("山口市吉敷下東１～３丁目", "宇部市常盤台２丁目", "下関市竹崎町", "防府市八王子", "周南市本町①番地",
        "岩国市表町", "萩市ソ連坂", "長門市仙崎十区", "山口市大内㈱ビル内", "光市虹ケ浜")
GAIJI = ("\ue000", "\ue001", "\ue002", "\ue003", "\ue004")  # F040 to F044
EXAM = ("全身状態良好。胸部聴診：ラ音なし", "眼底：単純網膜症①", "腹部平坦・軟、圧痛（－）", "下腿浮腫＋～＋＋",
        "体表にソ径リンパ節触知せず", "血圧１３０／８０ mmHg ﾐｬｸﾊｸ整")
DRUG = ("ノボラピッド注 30ミックス 朝20単位", "メトグルコ錠250mg ２錠 分２ 朝夕食後", "ジャヌビア錠50mg １錠 分１ 朝食後",
        "アムロジピンOD錠５mg「㈱製」 １錠", "ロキソニン錠60mg 頓用 痛み～軽快まで", "ﾌﾛｾﾐﾄﾞ錠20mg 0.5錠",
        "リピトール錠10mg 分１ 夕食後", "プレドニン錠５mg ①朝２錠 ②夕１錠")
ASSESSMENT = ("血糖コントロール不十分", "経過良好、表在感覚正常", "糖尿病網膜症の疑い→眼科紹介", "高血圧症Ⅱ度", "ソフト食へ変更 №３",
              "髙度脱水、補液十分に", "著変なし")
PROBLEM = ("２型糖尿病（E11.9）", "本態性高血圧症（I10）", "脂質異常症（E78.5）", "慢性腎臓病 ｽﾃｰｼﾞ3", "変形性膝関節症①右", "表皮のう腫（L72.0）")
ORDER = ("再診：３か月後", "HbA1c・尿ｱﾙﾌﾞﾐﾝ 次回", "眼科（山﨑医師）紹介", "栄養指導 表示カロリー1600～1800", "㈱臨床検査センターへ外注")
TEST = (("HbA1c（NGSP）", "％"), ("空腹時血糖", "mg/dL"), ("LDLｺﾚｽﾃﾛｰﾙ", "mg/dL"), ("eGFR", "mL/分/1.73㎡"),
        ("尿酸", "mg/dL"))
NOTE = ("再検①", "ソ", "表", "十", "乳び（＋）", "外注：㈱検査", "～基準内～", "髙値注意", "ﾖｳｹﾂ")

# The patient of the published example. Where its figure and its tables differ, the tables' values stand.
ID = "999-99-9999"
PATIENT = (ID, "0000-99999", "Bill Windows", "", "M", "1953-09-09",
           "9999 Computer Dr Operating System, California")
TABLE_1 = (1, 12000, ID, "General Appearance: no acute distress",
           "HUMULIN INJ 70/30 20 units ac breakfast", "Sub optimal sugar, control with retinopathy",
           0, "2011-03-24 00:00:00")
TABLE_2 = ("1000003", 10000, ID, "DIABETES MELLITUS (ICD-250.)", "HUMULIN INJ 70/30 20 units ac",
           "63:130:98.0:72:16:118/60", "Follow-up/Return Visit: 3 months", "2010-08-06")
RECORD_3 = (1, ID, "HbA1c（NGSP）", "7.80", "％", "髙値 ソ表十 ①再検 ～㈱山﨑検査所～ ｶﾅ \ue000", "1",
            "平成23年4月5日")


def era_date(year, month, day):
    """As a laboratory's old system writes it."""
    return f"平成{year - 1988}年{month}月{day}日"


def people(rng, count):
    """(id, patient number, name, kana, gender, birthday, address)"""
    yield PATIENT
    for number in range(1, count):
        family, given = rng.randrange(len(FAMILY)), rng.randrange(len(GIVEN))
        name = FAMILY[family] + "　" + GIVEN[given]
        if number % 250 == 0:
            name = GAIJI[number // 250 % len(GAIJI)] + name  # a name that Shift_JIS does not hold
        yield (f"{100 + number // 9000:03d}-{10 + number % 90:02d}-{1000 + number:04d}",
               f"{number:04d}-{rng.randrange(100000):05d}", name,
               FAMILY_KANA[family] + " " + GIVEN_KANA[given], rng.choice("MF"),
               f"{rng.randrange(1925, 2011)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}",
               f"山口県{rng.choice(TOWN)}{rng.randrange(1, 99)}－{rng.randrange(1, 30)}")


def visit(rng, number, who):
    return (number, rng.randrange(10000, 10400), who, rng.choice(EXAM), rng.choice(DRUG),
            rng.choice(ASSESSMENT), int(rng.random() < 0.1),
            f"{rng.randrange(2009, 2019)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d} "
            f"{rng.randrange(8, 18):02d}:{rng.randrange(60):02d}:00")


def treatment(rng, number, who):
    return (str(number), rng.randrange(10000, 10400), who, rng.choice(PROBLEM), rng.choice(DRUG),
            f"{rng.randrange(40, 90)}:{rng.randrange(145, 185)}:{rng.randrange(355, 385) / 10}:"
            f"{rng.randrange(55, 100)}:{rng.randrange(12, 20)}:{rng.randrange(95, 160)}/"
            f"{rng.randrange(55, 95)}",
            rng.choice(ORDER),
            f"{rng.randrange(2009, 2019)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}")


def laboratory(rng, number, who):
    test, unit = rng.choice(TEST)
    return (number, who, test, f"{rng.randrange(400, 30000) / 100:.2f}", unit, rng.choice(NOTE),
            int(rng.random() < 0.2),
            era_date(rng.randrange(2009, 2019), rng.randrange(1, 13), rng.randrange(1, 29)))


# 髙 has two codes, EEE0 (chosen by NEC) and FBFC (IBM); Windows writes IBM's, Python NEC's.
IBM = {code.decode("cp932"): code
       for lead in (0xFA, 0xFB) for code in (bytes((lead, trail)) for trail in range(0x40, 0xFD))
       if code[1] != 0x7F and code.decode("cp932").encode("cp932")[0] in (0xED, 0xEE)}


def shift_jis(text):
    return b"".join(IBM.get(character) or character.encode("cp932") for character in text)


def write(folder, name, encode, rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_MINIMAL).writerows(rows)
    (folder / name).write_bytes(encode(text.getvalue()))


def main():
    parser = argparse.ArgumentParser(description="writes the quickstart's data as CSV files")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--patients", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    everybody = list(people(rng, args.patients))
    ids = [person[0] for person in everybody[1:]]
    # Everybody is known to the first hospital; half of them went to the second, a third to the
    # third, and what the second wrote since it changed its system is in UTF-8.
    old, new, third = ids[0::4], ids[1::4], ids[0::3]
    write(args.folder, "patients.csv", shift_jis, everybody)
    write(args.folder, "visits.csv", shift_jis,
          [TABLE_1] + [visit(rng, n, who) for n, who in enumerate(ids, 2)])
    write(args.folder, "treatments.csv", shift_jis,
          [TABLE_2] + [treatment(rng, n, who) for n, who in enumerate(old, 1000004)])
    write(args.folder, "prescriptions.csv", str.encode,
          [(n, who, rng.choice(DRUG) + rng.choice(("", "", " 🈂")), treatment(rng, n, who)[7])
           for n, who in enumerate(new, 1)])
    write(args.folder, "laboratory.csv", shift_jis,
          [RECORD_3] + [laboratory(rng, n, who) for n, who in enumerate(third, 2)])


if __name__ == "__main__":
    main()
