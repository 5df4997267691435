"""The tokenizer beside openai-whisper's own: every attribute, id and word, in many scripts and on random text."""

# ruff: noqa: RUF001  (texts in many scripts)

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest

pytest.importorskip("whisper")
pytest.importorskip("hypothesis")

from hypothesis import example, given, settings
from hypothesis import strategies as st
from whisper import tokenizer as theirs  # type: ignore[import-untyped]

from npwhisper import tokenizer as ours

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # theirs forgets to close it

VOCABULARIES = [(False, 99), (True, 99), (True, 100)]
FIELDS = "num_languages language task sot_sequence special_tokens sot_sequence_including_notimestamps non_speech_tokens"
CONTROL = "eot transcribe translate sot sot_lm sot_prev no_speech no_timestamps timestamp_begin"
CORPUS = {
    "en": [
        " The lighthouse keeper's dog, Biscuit, wouldn't bark at boats.",
        ' "Where -- exactly -- did you put it?" (He shrugged.)',
        " It's 7:45 p.m.; we've driven 1,250.75 km... haven't we?!",
        " e-mail me @ home & bring $5 / €4 [or nothing] {ok}",
    ],
    "de": [" Der Fährmann grüßt fröhlich über den Fluss.", " „Straßenbahnschienenritzenreiniger“ ist ein Wort."],
    "fr": [" L'été dernier, j'ai aperçu un naïf garçon près du château.", " « Où ça ? » dit-elle."],
    "es": [" ¿Quién dejó la ventana abierta? ¡Qué frío!"],
    "pt": [" O coração da avó não sabe esperar."],
    "pl": [" Wiewiórka gryzła orzechy pod świerkiem."],
    "cs": [" Řeka přes noc zamrzla až ke mlýnu."],
    "tr": [" Işıklar söndüğünde çocuklar güldü."],
    "vi": [" Bà tôi kể chuyện đêm trăng ở làng."],
    "is": [" Þórður ætlar að veiða á morgun."],
    "ru": [" Утром снег скрипел под сапогами; было тихо…"],
    "uk": [" Їжак з'їв яблуко біля ґанку."],
    "bg": [" Щъркелът се върна рано тази пролет."],
    "el": [" Η θάλασσα ήταν ήρεμη· κανείς δεν μιλούσε."],
    "hy": [" Գարնանը այգին լցվում է ձայներով։"],
    "ka": [" წვიმა მთელი ღამე არ გაჩერებულა."],
    "he": [" הילד שר שיר קטן ליד החלון.", " \u200fכֵּן, שָׁלוֹם!"],
    "ar": [" القطة نامت على الكرسي القديم، ثم استيقظت."],
    "fa": [" کتاب‌ها را روی میز گذاشتم؛ کجاست؟"],
    "ur": [" بارش کے بعد آسمان صاف تھا۔"],
    "hi": [" दादी ने आँगन में दीया जलाया।"],
    "bn": [" নদীর ধারে একটা ছোট দোকান ছিল।"],
    "ta": [" மழை நின்றதும் குழந்தைகள் ஓடினார்கள்."],
    "te": [" పిల్లి గోడ మీద నిద్రపోయింది."],
    "am": [" ልጆቹ በወንዙ ዳር ተጫወቱ።"],
    "ko": [" 할머니는 아침마다 시장에 가셨다. 정말요?"],
    "zh": ["邮差今天迟到了,因为下雪。", "第3班车7:30开往“北山”站。"],
    "ja": ["猫は屋根の上で昼寝をしている。", "えっ、ABCビルの5階?「はい」と彼は言った。"],
    "th": ["แมวนอนบนหลังคา แล้วฝนก็ตก"],
    "lo": ["ແມ່ເຮັດເຂົ້າຢູ່ໃນຄົວ"],
    "my": ["ကလေးတွေ မြစ်ကမ်းမှာ ကစားကြတယ်။"],
    "bo": [" ཁྱི་ཆུང་ཞིག་གཉིད་ཁུག་འདུག"],
    "km": [" ក្មេងៗលេងនៅមាត់ទន្លេ។"],
    "yi": [" די באָבע האָט געבאַקן ברויט."],
    "la": [" ♪ La la la ♫ 🎻🎶 👩🏽‍🚀 🇮🇸  \n\tx² ≠ ½ 𝄞"],
}
SENTENCES = [(language, text) for language, texts in CORPUS.items() for text in texts]


def pair(multilingual: bool, num_languages: int, **options: Any) -> tuple[ours.Tokenizer, Any]:
    settings = {"num_languages": num_languages, **options}
    return ours.get_tokenizer(multilingual, **settings), theirs.get_tokenizer(multilingual, **settings)


def test_the_language_tables_are_equal() -> None:
    assert list(ours.LANGUAGES.items()) == list(theirs.LANGUAGES.items())
    assert ours.TO_LANGUAGE_CODE == theirs.TO_LANGUAGE_CODE


def test_every_public_name_of_theirs_is_here() -> None:
    names = {name for name in vars(theirs.Tokenizer) if not name.startswith("_")}
    assert names <= set(dir(ours.Tokenizer))
    assert len(names) >= 20


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("task", [None, "transcribe", "translate"])
@pytest.mark.parametrize("language", [None, "en", "German", "valencian", "JW"])
def test_every_attribute(vocabulary: tuple[bool, int], task: str | None, language: str | None) -> None:
    our, their = pair(*vocabulary, task=task, language=language)
    for name in [*FIELDS.split(), *CONTROL.split()]:
        assert getattr(our, name) == getattr(their, name), name
    assert our.encoding.n_vocab == their.encoding.n_vocab
    assert set(our.all_language_tokens) == set(their.all_language_tokens)
    assert set(our.all_language_codes) == set(their.all_language_codes)


@pytest.mark.parametrize("code", ours.LANGUAGES)
def test_every_language(code: str) -> None:
    our, their = pair(True, 100, language=code)
    assert our.sot_sequence == their.sot_sequence
    assert our.language_token == their.language_token == our.to_language_token(code)


@pytest.mark.parametrize("multilingual", [False, True])
def test_every_single_token_decodes_alike(multilingual: bool) -> None:
    our, their = pair(multilingual, 99)
    ids = range(our.encoding.n_vocab)
    assert all(our.decode([token]) == their.decode([token]) for token in ids)
    assert our.encoding.decode_tokens_bytes(ids) == their.encoding.decode_tokens_bytes(ids)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize(("language", "text"), SENTENCES)
def test_ids_and_words_of_sentences(vocabulary: tuple[bool, int], language: str, text: str) -> None:
    our, their = pair(*vocabulary, language=language)
    ids = our.encode(text)
    assert ids == their.encode(text)
    stamped = [our.timestamp_begin, *ids, our.timestamp_begin + 77, our.eot]
    assert our.decode(stamped) == their.decode(stamped)
    assert our.decode_with_timestamps(stamped) == their.decode_with_timestamps(stamped)
    for split in ("split_to_word_tokens", "split_tokens_on_unicode", "split_tokens_on_spaces"):
        assert getattr(our, split)(stamped) == getattr(their, split)(stamped), split


@pytest.mark.parametrize("multilingual", [False, True])
@settings(deadline=None, max_examples=150)
@given(text=st.text(max_size=60))
@example(text="<|")
@example(text="\ud800 alone")
@example(text="say <|notimestamps|>")
def test_any_text(multilingual: bool, text: str) -> None:
    our, their = pair(multilingual, 99)
    try:
        expected = their.encode(text)
    except ValueError:  # a control token: both refuse it, and both spell it out when told to
        with pytest.raises(ours.TokenizerError):
            our.encode(text)
        assert our.encode(text, disallowed_special=()) == their.encode(text, disallowed_special=())
        return
    assert our.encode(text) == expected
    assert our.decode(expected) == their.decode(expected)


@pytest.mark.parametrize("multilingual", [False, True])
@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_words_of_any_tokens(multilingual: bool, data: st.DataObject) -> None:
    """Ours equal theirs wherever theirs keep all of the tokens and text; ours always do."""
    our, their = pair(multilingual, 99)
    token = st.integers(0, 255) | st.integers(0, our.encoding.n_vocab - 1)
    ids = data.draw(st.lists(token, max_size=30))
    text = our.decode_with_timestamps(ids)
    words, word_tokens = our.split_tokens_on_unicode(ids)
    assert ("".join(words), [*chain(*word_tokens)]) == (text, ids)
    try:
        expected = their.split_tokens_on_unicode(ids)
    except IndexError:
        return
    if ("".join(expected[0]), [*chain(*expected[1])]) == (text, ids):
        assert (words, word_tokens) == expected
        assert our.split_tokens_on_spaces(ids) == their.split_tokens_on_spaces(ids)
