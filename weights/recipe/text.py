# ruff: noqa: SIM905  (a list of words is easier to read as words)
"""The sentences to be spoken: lines of novels, cleaned, and short templates of our own (digits, dates, commands)."""

from __future__ import annotations

import random
import re
import zlib
from collections import Counter

UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
TENS = ("twenty thirty forty fifty sixty seventy eighty ninety").split()
MONTHS = ("January February March April May June July August September October November December").split()
DAYS = ("Monday Tuesday Wednesday Thursday Friday Saturday Sunday").split()
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
).split()
NOUNS = (
    "house water book school table garden music city river mountain computer window letter family friend doctor "
    "teacher number picture street market coffee kitchen door light morning evening summer winter animal horse "
    "dog cat bird flower tree apple bread fish paper story question answer money work world country"
).split()
ADJECTIVES = (
    "small large old new red green blue quiet loud warm cold happy heavy short long simple strange empty bright"
).split()
VERBS = ("open close start stop find show").split()
COMMANDS = (
    "Go forward.|Go back.|Stop.|Turn left.|Turn right.|Yes.|No.|Hello.|Thank you.|Good morning.|Good night.|"
    "Help me, please.|Start again.|Wait a minute.|How are you?|I am fine.|What time is it?|Where are you?|"
    "Open the door.|Turn on the light.|Play some music.|Call me tomorrow.|This is a test.|One, two, three.|"
    "Testing, testing.|Read the next page.|Save the file.|Send the message.|What is your name?|"
    "My name is John."
).split("|")
CLOCK = ["half past", "quarter to", "ten past", "five to"]


def number(n: int) -> str:
    """Spell out 0 <= n < 1,000,000."""
    if n < 20:
        return UNITS[n]
    if n < 100:
        return TENS[n // 10 - 2] + ("-" + UNITS[n % 10] if n % 10 else "")
    if n < 1000:
        return UNITS[n // 100] + " hundred" + (" and " + number(n % 100) if n % 100 else "")
    return number(n // 1000) + " thousand" + (" " + number(n % 1000) if n % 1000 else "")


def sentence(words: str) -> str:
    return words[0].upper() + words[1:] + "."


def counting(r: random.Random, kind: int) -> str:
    """A digit, a row of digits, a number, a date or a time."""
    if kind == 0:
        return sentence(UNITS[r.randrange(11)])
    if kind == 1:
        return sentence(", ".join(UNITS[r.randrange(10)] for _ in range(r.randint(2, 7))))
    if kind == 2:
        return sentence(number(r.choice([r.randrange(100), r.randrange(1000), r.randrange(100000)])))
    if kind == 3:
        return f"{r.choice(DAYS)}, the {r.choice(ORDINALS)} of {r.choice(MONTHS)}."
    return sentence(f"it is {r.choice(CLOCK)} {UNITS[r.randint(1, 12)]}")


def template(r: random.Random) -> str:
    """One short sentence of our own: digits, numbers, dates, times, commands, single words."""
    kind = r.randrange(11)
    if kind < 5:
        return counting(r, kind)
    if kind == 5:
        return r.choice(COMMANDS)
    if kind == 6:
        return sentence(r.choice(NOUNS))
    if kind == 7:
        return sentence(f"the {r.choice(ADJECTIVES)} {r.choice(NOUNS)}")
    if kind == 8:
        return sentence(f"{r.choice(VERBS)} the {r.choice(ADJECTIVES)} {r.choice(NOUNS)}")
    if kind == 9:
        few, many = number(r.randint(2, 20)), number(r.randint(2, 99))
        return sentence(f"there are {many} {r.choice(NOUNS)}s and {few} {r.choice(NOUNS)}s")
    pairs = [f"the {r.choice(NOUNS)} is {r.choice(ADJECTIVES)}" for _ in range(2)]
    return sentence(" and ".join(pairs))


def clean(line: str) -> str | None:
    """Whisper-like text without the signs that its decoder suppresses (quotation marks, colons, semicolons)."""
    s = re.sub(r'["`]', "", line.strip()).replace("--", ", ").replace(";", ",").replace(":", ",")
    s = re.sub(r"\s+,", ",", re.sub(r",+", ",", s))
    s = re.sub(r"\s+", " ", s).strip(" ,'-")
    odd = r"[A-Z][A-Z]|[.!?]\s*[.!?]|'\s|\s'|\s-|-\s"
    if not s or not re.fullmatch(r"[A-Za-z ,.?!'\-]+", s) or re.search(odd, s):
        return None
    return s[0].upper() + s[1:]


def held_out(s: str) -> bool:
    """True for the one sentence in a hundred which is kept away from training."""
    return zlib.crc32(s.encode()) % 100 == 0


def load_text(path: str, top_words: int = 0, max_words: int = 25) -> list[str]:
    """Sentences of a file; top_words > 0 keeps only those made of that many most frequent words."""
    with open(path, encoding="utf-8") as f:
        rows = [c for c in map(clean, f) if c and len(c.split()) <= max_words]
    if not top_words:
        return rows
    split = [re.findall(r"[a-z']+", r.lower()) for r in rows]
    top = {w for w, _ in Counter(w for ws in split for w in ws).most_common(top_words)}
    return [r for r, ws in zip(rows, split, strict=True) if all(w in top for w in ws)]
