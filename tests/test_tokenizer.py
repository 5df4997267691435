"""Vocabularies, ids, languages, the way to text and back, and cutting into words.

Ids and words are those of openai-whisper 20250625, compared again in ``test_against_whisper_tokenizer.py``.
"""

# ruff: noqa: RUF001  (texts in many scripts)

from __future__ import annotations

import hashlib
import pickle
import socket
import subprocess
import sys
from importlib.resources import files
from itertools import chain
from typing import Any

import numpy as np
import pytest

from npwhisper import tokenizer as module
from npwhisper.tokenizer import (
    ALIASES,
    LANGUAGES,
    TO_LANGUAGE_CODE,
    LanguageError,
    Tokenizer,
    TokenizerError,
    check_language,
    get_encoding,
    get_tokenizer,
)

VOCABULARIES = {
    "en": {"multilingual": False, "num_languages": 99},
    "99": {"multilingual": True, "num_languages": 99},
    "100": {"multilingual": True, "num_languages": 100},
}
IDS = {  # name: ids in the three vocabularies, in the order above
    "eot": (50256, 50257, 50257),
    "sot": (50257, 50258, 50258),
    "translate": (50357, 50358, 50359),
    "transcribe": (50358, 50359, 50360),
    "sot_lm": (50359, 50360, 50361),
    "sot_prev": (50360, 50361, 50362),
    "no_speech": (50361, 50362, 50363),
    "no_timestamps": (50362, 50363, 50364),
    "timestamp_begin": (50363, 50364, 50365),
}
NON_SPEECH = {
    "multilingual": """1 2 7 8 9 10 14 25 26 27 28 29 31 58 59 60 61 62 63 90 91 92 93 359 503 522 542 873 893 902 918
        922 931 1350 1853 1982 2460 2627 3246 3253 3268 3536 3846 3961 4183 4667 6585 6647 7273 9061 9383 10428 10929
        11938 12033 12331 12562 13793 14157 14635 15265 15618 16553 16604 18362 18956 20075 21675 22520 26130 26161
        26435 28279 29464 31650 32302 32470 36865 42863 47425 49870 50254""",
    "gpt2": """1 2 7 8 9 10 14 25 26 27 28 29 31 58 59 60 61 62 63 90 91 92 93 357 366 438 532 685 705 796 930 1058
        1220 1267 1279 1303 1343 1377 1391 1635 1782 1875 2162 2361 2488 3467 4008 4211 4600 4808 5299 5855 6329 7203
        9609 9959 10563 10786 11420 11709 11907 13163 13697 13700 14808 15306 16410 16791 17992 19203 19510 20724 22305
        22935 27007 30109 30420 33409 34949 40283 40493 40549 47282 49146""",
}
TEXTS = [
    "",
    " ",
    " Ask not what your country can do for you.",
    " don't, we've; I'LL they'd",
    "  two  spaces\n\nand lines\t",
    " 3.14159 and 1,000,000",
    " Grüße aus Köln",
    "春の海 ひねもすのたり",
    " 안녕하세요, 여러분",
    "مرحبا بالعالم",
    "ฝนตกหนัก",
    " नमस्ते दुनिया",
    "🎉👩‍👩‍👧‍👦 🇩🇪",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \u200d\ufeff\x00",
]


@pytest.fixture(params=VOCABULARIES)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return make(request.param)


def make(vocabulary: str, **options: Any) -> Tokenizer:
    return get_tokenizer(**VOCABULARIES[vocabulary], **options)


@pytest.mark.parametrize(
    ("name", "lines", "sha256"),
    [
        ("gpt2", 50256, "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"),
        ("multilingual", 50257, "b34b360dbb493e781e479794586d661700670d65564001f23024971d1f2fa126"),
    ],
)
def test_the_vocabulary_files_are_the_published_ones(name: str, lines: int, sha256: str) -> None:
    data = (files("npwhisper") / "assets" / f"{name}.tiktoken").read_bytes()
    assert hashlib.sha256(data).hexdigest() == sha256
    assert data.count(b"\n") == lines


def test_the_licence_of_the_vocabulary_files_is_kept() -> None:
    notice = (files("npwhisper") / "assets" / "NOTICE").read_text(encoding="utf-8")
    assert all(part in notice for part in ("openai-whisper", "20250625", "MIT License", "Copyright (c) 2022 OpenAI"))


# Ids


@pytest.mark.parametrize(("vocabulary", "n_vocab"), [("en", 51864), ("99", 51865), ("100", 51866)])
def test_vocabulary_sizes(vocabulary: str, n_vocab: int) -> None:
    assert make(vocabulary).encoding.n_vocab == n_vocab


@pytest.mark.parametrize("name", IDS)
def test_ids_of_control_tokens(name: str) -> None:
    assert tuple(getattr(make(vocabulary), name) for vocabulary in VOCABULARIES) == IDS[name]


@pytest.mark.parametrize(
    ("vocabulary", "first", "last", "last_code"),
    [("en", 50258, 50356, "su"), ("99", 50259, 50357, "su"), ("100", 50259, 50358, "yue")],
)
def test_language_tokens_stand_in_id_order(vocabulary: str, first: int, last: int, last_code: str) -> None:
    tokenizer = make(vocabulary)
    assert tokenizer.all_language_tokens == tuple(range(first, last + 1))
    assert (tokenizer.all_language_codes[0], tokenizer.all_language_codes[-1]) == ("en", last_code)
    named = [f"<|{code}|>" for code in tokenizer.all_language_codes]
    assert [tokenizer.decode([token]) for token in tokenizer.all_language_tokens] == named


@pytest.mark.parametrize(("vocabulary", "last"), [("en", 51863), ("99", 51864), ("100", 51865)])
def test_timestamps_end_at_thirty_seconds(vocabulary: str, last: int) -> None:
    tokenizer = make(vocabulary)
    assert tokenizer.special_tokens["<|30.00|>"] == last
    assert last - tokenizer.timestamp_begin == 1500


def test_special_tokens_are_listed_by_id_without_gaps(tokenizer: Tokenizer) -> None:
    assert list(tokenizer.special_tokens.values()) == list(range(tokenizer.eot, tokenizer.encoding.n_vocab))


@pytest.mark.parametrize(("vocabulary", "name", "count"), [("en", "gpt2", 84), ("99", "multilingual", 82)])
def test_non_speech_tokens(vocabulary: str, name: str, count: int) -> None:
    ids = make(vocabulary).non_speech_tokens
    assert ids == tuple(map(int, NON_SPEECH[name].split()))
    assert len(ids) == count


def test_non_speech_tokens_do_not_depend_on_the_number_of_languages() -> None:
    assert make("100").non_speech_tokens == make("99").non_speech_tokens


def test_the_empty_byte_sequence_is_a_token() -> None:
    assert make("99").decode([50256]) == ""
    assert make("99").split_tokens_on_unicode([50256, 13]) == (["", "."], [[50256], [13]])


# Languages and tasks


def test_a_hundred_languages_in_published_order() -> None:
    codes = " ".join(LANGUAGES)
    assert len(LANGUAGES) == len(set(LANGUAGES.values())) == 100
    assert codes.startswith("en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no")
    assert codes.endswith("ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue")
    assert LANGUAGES["ht"] == "haitian creole"


@pytest.mark.parametrize("code", LANGUAGES)
def test_code_and_name_mean_the_language_in_any_case(code: str) -> None:
    assert {check_language(name) for name in (code, code.upper(), LANGUAGES[code].title())} == {code}


@pytest.mark.parametrize(("alias", "code"), ALIASES.items())
def test_aliases(alias: str, code: str) -> None:
    assert check_language(alias.upper()) == TO_LANGUAGE_CODE[alias] == code
    assert alias not in LANGUAGES.values()


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("pt-BR", "pt"),
        ("en_US", "en"),
        ("zh-Hant", "zh"),
        ("zh-CN", "zh"),
        ("sr_Latn_RS", "sr"),
        ("nb-NO", "no"),
        ("jv", "jw"),
        ("iw", "he"),
        ("yue-HK", "yue"),
    ],
)
def test_tags_of_regions_scripts_and_other_codes(tag: str, code: str) -> None:
    assert check_language(tag) == code


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("auto", r"'auto': leave the language out \(None\) to detect it$"),
        ("jp", r"'jp'; did you mean 'japanese' \(ja\)\?.*\(None\) to detect it$"),
        ("cn-TW", r"'cn-TW'; did you mean 'chinese' \(zh\)\?"),
        ("eng", r"'eng'; did you mean 'english' \(en\)\?"),
        ("qq", r"'qq'; Whisper knows 100"),
    ],
)
def test_a_language_that_nobody_knows_gets_the_advice_that_helps(name: str, words: str) -> None:
    with pytest.raises(LanguageError, match=words):
        check_language(name)


def test_an_unknown_language_is_explained() -> None:
    with pytest.raises(ValueError, match=r"^unknown language 'Germen'; did you mean 'german'.* knows 100 "):
        get_tokenizer(True, language="Germen")
    with pytest.raises(KeyError, match=r"^unknown language '00'; Whisper knows 100 "):
        make("99").to_language_token("00")
    with pytest.raises(LanguageError, match="unknown language ''"):
        get_tokenizer(False, language="")


@pytest.mark.parametrize("language", ["yue", "Cantonese"])
def test_cantonese_needs_a_hundred_languages(language: str) -> None:
    assert make("100", language=language).language_token == 50358
    with pytest.raises(LanguageError, match=r"'yue' \(cantonese\) is not among the 99 languages"):
        make("99", language=language)
    with pytest.raises(LanguageError, match="99 languages"):
        make("99").to_language_token(language)


@pytest.mark.parametrize(
    ("vocabulary", "options", "sequence"),
    [
        ("en", {}, (50257,)),
        ("en", {"language": "french", "task": "translate"}, (50257,)),
        ("99", {}, (50258, 50259, 50359)),
        ("99", {"language": "Flemish", "task": "translate"}, (50258, 50271, 50358)),
        ("99", {"language": "su"}, (50258, 50357, 50359)),
        ("99", {"task": "lang_id"}, (50258, 50259)),
        ("100", {"language": "YUE", "task": "transcribe"}, (50258, 50358, 50360)),
    ],
)
def test_start_sequences(vocabulary: str, options: dict[str, str], sequence: tuple[int, ...]) -> None:
    tokenizer = make(vocabulary, **options)
    assert tokenizer.sot_sequence == sequence
    assert tokenizer.sot_sequence_including_notimestamps == (*sequence, tokenizer.no_timestamps)


def test_a_tokenizer_may_have_neither_language_nor_task() -> None:
    bare = Tokenizer(get_encoding("multilingual", 99), 99)
    assert bare.sot_sequence == (50258,)
    with pytest.raises(ValueError, match="no language"):
        _ = bare.language_token


def test_language_names_are_stored_as_codes() -> None:
    assert Tokenizer(get_encoding("multilingual"), 99, language="Japanese").language == "ja"
    assert get_tokenizer(False, language="Japanese").language is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: get_tokenizer(True, task="summarise"), "unknown task 'summarise'.*'transcribe', 'translate'"),
        (lambda: get_encoding("cl100k"), "unknown vocabulary 'cl100k'.*'gpt2'.*'multilingual'"),
        (lambda: get_encoding("multilingual", 101), "101 languages"),
        (lambda: get_encoding("multilingual", 0), "0 languages"),
    ],
)
def test_wrong_settings_are_explained(wrong: Any, words: str) -> None:
    with pytest.raises(TokenizerError, match=words):
        wrong()


# Text to ids and back


@pytest.mark.parametrize("text", TEXTS)
def test_round_trip(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == tokenizer.decode_with_timestamps(ids) == text
    assert all(token < tokenizer.eot for token in ids)


@pytest.mark.parametrize(
    ("vocabulary", "text", "ids"),
    [
        ("en", " Hello, world!", [18435, 11, 995, 0]),
        ("99", " Grüße aus Köln", [38908, 11451, 3437, 591, 13072, 77]),
        ("99", "春の海", [46953, 2972, 20078]),
        ("en", " ", [220]),
        ("99", " ", [220]),
    ],
)
def test_ids_of_known_texts(vocabulary: str, text: str, ids: list[int]) -> None:
    assert make(vocabulary).encode(text) == ids


def test_decode_drops_timestamps_and_keeps_control_tokens() -> None:
    ids = [50258, 50364, 46953, 50418, 50257, 51864]
    tokenizer = make("99")
    assert tokenizer.decode(ids) == "<|startoftranscript|>春<|endoftext|>"
    assert tokenizer.decode_with_timestamps(ids) == "<|startoftranscript|><|0.00|>春<|1.08|><|endoftext|><|30.00|>"


def test_half_a_character_becomes_a_replacement_character_or_an_error() -> None:
    tokenizer = make("99")
    half = tokenizer.encode("🎉")[:1]
    assert tokenizer.decode(half) == "\ufffd"
    with pytest.raises(UnicodeDecodeError):
        tokenizer.decode(half, errors="strict")


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint16])
def test_ids_may_be_numpy_arrays(dtype: type[np.generic]) -> None:
    tokenizer = make("99", language="ja")
    ids = np.array([46953, 2972, 20078, 50364], dtype=dtype)
    assert tokenizer.decode(ids) == "春の海"
    words, word_tokens = tokenizer.split_to_word_tokens(ids)
    assert words == ["春", "の", "海", "<|0.00|>"]
    assert {type(token) for tokens in word_tokens for token in tokens} == {int}


@pytest.mark.parametrize("read", ["decode", "decode_with_timestamps", "split_to_word_tokens"])
@pytest.mark.parametrize("beyond", [-1, 0, 7, 2**31, 2**70])
def test_ids_outside_the_vocabulary_are_refused(tokenizer: Tokenizer, read: str, beyond: int) -> None:
    n_vocab = tokenizer.encoding.n_vocab
    wrong = beyond if beyond < 0 else n_vocab + beyond
    with pytest.raises(ValueError, match=f"token id {wrong} is not in this vocabulary of {n_vocab}"):
        getattr(tokenizer, read)([11, wrong])


@pytest.mark.parametrize("ids", [[1.5], ["11"], np.array([11.0]), np.array([[11, 13]])])
def test_ids_must_be_integers(ids: Any) -> None:
    with pytest.raises(TypeError):
        make("en").decode(ids)


@pytest.mark.parametrize("mark", ["<|endoftext|>", "<|en|>", "<|0.00|>", "<|startofprev|>"])
def test_control_tokens_in_a_text_are_refused_unless_allowed(mark: str) -> None:
    tokenizer = make("99")
    with pytest.raises(ValueError, match=r"special token .*disallowed_special=\(\)") as caught:
        tokenizer.encode(f"so {mark} it goes")
    assert mark in str(caught.value)
    assert "\n" not in str(caught.value)
    assert tokenizer.special_tokens[mark] in tokenizer.encode(mark, allowed_special="all")
    spelled = tokenizer.encode(mark, disallowed_special=())
    assert max(spelled) < tokenizer.eot
    assert tokenizer.decode(spelled) == mark


def test_marks_that_name_no_control_token_are_plain_text() -> None:
    tokenizer = make("99")
    assert tokenizer.decode(tokenizer.encode(" <|xx|> <|0.01|> <|yue|>")) == " <|xx|> <|0.01|> <|yue|>"


# Words


@pytest.mark.parametrize(
    ("vocabulary", "language", "text", "words"),
    [
        ("en", None, ' "Well..." she said, "no!"', [' "Well..."', " she", " said", ",", ' "no', '!"']),
        ("99", "de", " Grüße aus Köln, 20.5 km/h?", [" Grüße", " aus", " Köln", ",", " 20", ".5", " km", "/h", "?"]),
        ("99", "ru", " Тихо; ночь…", [" Тихо", ";", " ночь…"]),
        ("99", "hi", " नमस्ते दुनिया", [" नमस्ते", " दुनिया"]),
        ("99", "ja", "春の海、 ひね🎉のたり", ["春", "の", "海", "、", " ひ", "ね", "🎉", "の", "た", "り"]),
        ("99", "th", "ฝนตกหนัก", ["ฝ", "น", "ต", "ก", "หน", "ั", "ก"]),
        ("100", "yue", "今日好熱", ["今日", "好", "熱"]),
        ("99", "zh", "", []),
        ("en", None, " yes\nno", [" yes", "\nno"]),
        ("en", None, "", []),
    ],
)
def test_words(vocabulary: str, language: str | None, text: str, words: list[str]) -> None:
    tokenizer = make(vocabulary, language=language)
    ids = tokenizer.encode(text)
    split, word_tokens = tokenizer.split_to_word_tokens(ids)
    assert split == words
    assert [tokenizer.decode(tokens) for tokens in word_tokens] == words
    assert [*chain(*word_tokens)] == ids


def test_control_tokens_and_timestamps_are_words_of_their_own() -> None:
    ids = [50364, 18435, 11, 50400, 50257]
    split = make("99", language="en").split_to_word_tokens(ids)
    assert split[1] == [[50364], [18435], [11], [50400], [50257]]
    assert split[0][0::4] == ["<|0.00|>", "<|endoftext|>"]


@pytest.mark.parametrize("method", ["split_tokens_on_unicode", "split_tokens_on_spaces"])
@pytest.mark.parametrize("seed", range(6))
def test_cutting_random_tokens_loses_nothing(tokenizer: Tokenizer, method: str, seed: int) -> None:
    # Random ids are mostly broken UTF-8, as a weak model writes it; upstream can lose tokens there or raise IndexError.
    rng = np.random.default_rng(seed)
    single_bytes = rng.integers(0, 256, 50).tolist()
    ids = [*single_bytes, *rng.integers(0, tokenizer.encoding.n_vocab, 70).tolist()]
    words, word_tokens = getattr(tokenizer, method)(ids)
    assert "".join(words) == tokenizer.decode_with_timestamps(ids)
    assert [*chain(*word_tokens)] == ids
    assert all(tokenizer.decode_with_timestamps(t) == w for w, t in zip(words, word_tokens, strict=True))


def test_broken_characters_spread_over_tokens_stay_together() -> None:
    # The first three bytes of a four-byte emoji, one a token, then a letter: one replacement character, two words.
    tokenizer = make("en")
    ids = [tokenizer.encoding.encode_single_token(bytes([byte])) for byte in b"\xf0\x9f\x98A"]
    assert tokenizer.split_tokens_on_unicode(ids) == (["\ufffd", "A"], [ids[:3], ids[3:]])


# Loading


def test_tokenizers_are_made_once_and_share_their_encoding() -> None:
    assert make("99", language="fr") is make("99", language="fr")
    assert make("99", language="fr").encoding is make("99", language="de", task="translate").encoding
    assert get_encoding("gpt2") is get_encoding(name="gpt2", num_languages=99)


def test_vocabularies_come_from_the_package_never_from_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(module, "_read_ranks", module._read_ranks.__wrapped__)
    assert module._build_encoding.__wrapped__("multilingual", 100).n_vocab == 51866


def test_importing_the_module_leaves_tiktoken_alone() -> None:
    code = "import sys, npwhisper.tokenizer; print(sorted({'tiktoken', 'regex'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_tokenizer_survives_pickling() -> None:
    tokenizer = make("99", language="ja")
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.sot_sequence == tokenizer.sot_sequence
    assert copy.decode([46953, 50257]) == "春<|endoftext|>"
