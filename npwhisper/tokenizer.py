"""Text to token ids and back: Whisper's vocabularies, control tokens and languages.

A vocabulary is one long row. First come the byte sequences that byte-pair encoding merges (GPT-2's own for the ``.en``
models, a multilingual set for the others), then the control tokens, then 1501 timestamps from 0.00 to 30.00 s. Every
id follows from that order and from the number of languages. Word timestamps need the way back in pieces, so this file
also cuts tokens into words.
Upstream: ``whisper/tokenizer.py``; paper: sections 2.2 and 2.3.
"""

from __future__ import annotations

import operator
import string
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from npwhisper.tracing.spelling import question, similar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiktoken import Encoding

# Code and name in the order of the ids: the n-th language has the token sot + 1 + n.
LANGUAGE_TABLE = """
    en english, zh chinese, de german, es spanish, ru russian, ko korean, fr french, ja japanese, pt portuguese,
    tr turkish, pl polish, ca catalan, nl dutch, ar arabic, sv swedish, it italian, id indonesian, hi hindi, fi finnish,
    vi vietnamese, he hebrew, uk ukrainian, el greek, ms malay, cs czech, ro romanian, da danish, hu hungarian,
    ta tamil, no norwegian, th thai, ur urdu, hr croatian, bg bulgarian, lt lithuanian, la latin, mi maori,
    ml malayalam, cy welsh, sk slovak, te telugu, fa persian, lv latvian, bn bengali, sr serbian, az azerbaijani,
    sl slovenian, kn kannada, et estonian, mk macedonian, br breton, eu basque, is icelandic, hy armenian, ne nepali,
    mn mongolian, bs bosnian, kk kazakh, sq albanian, sw swahili, gl galician, mr marathi, pa punjabi, si sinhala,
    km khmer, sn shona, yo yoruba, so somali, af afrikaans, oc occitan, ka georgian, be belarusian, tg tajik,
    sd sindhi, gu gujarati, am amharic, yi yiddish, lo lao, uz uzbek, fo faroese, ht haitian creole, ps pashto,
    tk turkmen, nn nynorsk, mt maltese, sa sanskrit, lb luxembourgish, my myanmar, bo tibetan, tl tagalog,
    mg malagasy, as assamese, tt tatar, haw hawaiian, ln lingala, ha hausa, ba bashkir, jw javanese, su sundanese,
    yue cantonese"""
LANGUAGES: dict[str, str] = dict(entry.split(maxsplit=1) for entry in LANGUAGE_TABLE.split(","))
ALIASES = {
    "burmese": "my",
    "castilian": "es",
    "flemish": "nl",
    "haitian": "ht",
    "letzeburgesch": "lb",
    "mandarin": "zh",
    "moldavian": "ro",
    "moldovan": "ro",
    "panjabi": "pa",
    "pushto": "ps",
    "sinhalese": "si",
    "valencian": "ca",
}
TO_LANGUAGE_CODE: dict[str, str] = {**{name: code for code, name in LANGUAGES.items()}, **ALIASES}
OTHER_CODES = {"cmn": "zh", "fil": "tl", "iw": "he", "jv": "jw", "nb": "no", "ji": "yi", "in": "id"}  # of ISO 639
COUNTRIES = {"cn": "zh", "cz": "cs", "dk": "da", "gr": "el", "jp": "ja", "kr": "ko", "se": "sv", "ua": "uk", "vn": "vi"}

UNSPACED = ("zh", "ja", "th", "lo", "my", "yue")  # written without spaces between words
TASKS = ("transcribe", "translate", "lang_id")
TIMESTAMPS = tuple(f"<|{hundredths / 100:.2f}|>" for hundredths in range(0, 3002, 2))
TIME_STAMPS = TIMESTAMPS  # its old name

# GPT-2's cut of a text into pieces, within which bytes are merged: contractions, words, numbers, marks, white space.
PIECES = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# What subtitles write for sounds and speakers rather than speech; never sampled by default.
NOISE_MARKS = '" # ( ) * + / : ; < = > @ [ \\ ] ^ _ ` { | } ~ 「 」 『 』'
NOISE_RUNS = "<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪"
MUSIC_SIGNS = "♩♪♫♬♭♮♯"


class TokenizerError(ValueError):
    """A text, token id, task or vocabulary that the tokenizer cannot take."""


class LanguageError(TokenizerError, KeyError):
    """A language that is unknown or not in this vocabulary; also the KeyError that upstream's lookup raises."""

    __str__ = ValueError.__str__  # KeyError alone would print the sentence in quotation marks


def check_language(language: str, num_languages: int = 100) -> str:
    """The code of a language given by its code, English name or alias, in any case.

    Parameters
    ----------
    language : str
        For example ``"de"``, ``"German"``, ``"Flemish"`` or ``"pt-BR"``, of which Whisper knows only ``"pt"``.
    num_languages : int
        How many languages the model's vocabulary holds: 99, or 100 from large-v3 on.

    Returns
    -------
    str
        A key of `LANGUAGES`.

    Raises
    ------
    LanguageError
        If the language is unknown, or this vocabulary lacks it. It is a ``ValueError``.

    >>> check_language("Castilian")
    'es'
    """
    name = str(language).strip().lower()
    code = _code(name)
    if code not in LANGUAGES:
        raise LanguageError(_unknown_language(language, name))
    if code not in tuple(LANGUAGES)[:num_languages]:
        raise LanguageError(
            f"language {code!r} ({LANGUAGES[code]}) is not among the {num_languages} languages of this model; "
            "use a model that supports it (large-v3 and turbo know all 100) or name a similar language"
        )
    return code


def _code(name: str) -> str:
    """The code of a name or code; of a tag of a region or script, such as ``pt-br`` or ``zh_hant``, that before it."""
    if name in LANGUAGES or name in TO_LANGUAGE_CODE:
        return TO_LANGUAGE_CODE.get(name, name)
    first = name.replace("_", "-").partition("-")[0]
    return OTHER_CODES.get(first, first if first in LANGUAGES else name)


def _unknown_language(language: str, name: str) -> str:
    """The error message for an unknown language, with the names most like it."""
    if name in ("auto", "automatic", "detect", "none", ""):
        return f"unknown language {language!r}: leave the language out (None) to detect it"
    meant = question(f"{LANGUAGES[code]!r} ({code})" for code in _similar(name))
    return (
        f"unknown language {language!r}; {meant}{' ' * bool(meant)}Whisper knows {len(LANGUAGES)} (listed in "
        "npwhisper.tokenizer.LANGUAGES): give a code such as 'de' or an English name such as 'german', or leave it out "
        "(None) to detect it"
    )


def _similar(name: str) -> list[str]:
    """The codes of languages that may be meant; a code of two letters is like too many others to guess."""
    first = name.replace("_", "-").partition("-")[0]
    if first in COUNTRIES:
        return [COUNTRIES[first]]
    names = similar(name, TO_LANGUAGE_CODE) if len(name) > 3 else []
    names += [known for known in TO_LANGUAGE_CODE if len(name) > 2 and known.startswith(name) and known not in names]
    return list(dict.fromkeys(TO_LANGUAGE_CODE[known] for known in names))[:3]


@dataclass
class Tokenizer:
    """One vocabulary, set up for one language and task. Made by `get_tokenizer`.

    Ids may be given as any iterable of integers, NumPy arrays included; an id that is not in the vocabulary raises
    `TokenizerError`.

    Parameters
    ----------
    encoding : tiktoken.Encoding
        From `get_encoding`.
    num_languages : int
        Languages in the vocabulary, 99 or 100.
    language : str or None
        Code, name or alias; None leaves the language token out.
    task : str or None
        ``"transcribe"``, ``"translate"``, or None (and ``"lang_id"``) to leave the task token out.

    Attributes
    ----------
    sot_sequence : tuple of int
        What the decoder starts from: start of transcript, language, task.
    special_tokens : dict of str to int
        Control tokens and timestamps by name, in the order of their ids.

    >>> tokenizer = get_tokenizer(True, language="french", task="translate")
    >>> tokenizer.decode_with_timestamps([*tokenizer.sot_sequence, tokenizer.timestamp_begin + 54])
    '<|startoftranscript|><|fr|><|translate|><|1.08|>'
    """

    encoding: Encoding
    num_languages: int
    language: str | None = None
    task: str | None = None
    sot_sequence: tuple[int, ...] = ()
    special_tokens: dict[str, int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        ids = {name: self.encoding.encode_single_token(name) for name in self.encoding.special_tokens_set}
        self.special_tokens.update(sorted(ids.items(), key=operator.itemgetter(1)))
        sequence = [self.sot]
        if self.language is not None:
            self.language = check_language(self.language, self.num_languages)
            sequence.append(self.language_token)
        if self.task not in (None, *TASKS):
            raise TokenizerError(f"unknown task {self.task!r}; give one of {', '.join(map(repr, TASKS))}")
        if self.task in ("transcribe", "translate"):
            sequence.append(self.special_tokens[f"<|{self.task}|>"])
        self.sot_sequence = tuple(sequence)

    def encode(self, text: str, **kwargs: Any) -> list[int]:
        """Token ids of a text. Keywords go to ``tiktoken.Encoding.encode``.

        Raises
        ------
        TokenizerError
            If the text contains the name of a control token, such as ``<|en|>``, and no keyword allows it.

        >>> get_tokenizer(False).encode(" Hello, world!")
        [18435, 11, 995, 0]
        """
        if not kwargs and "<|" not in text:
            return self.encoding.encode_ordinary(text)  # spares tiktoken its pattern of 1,600 control tokens: 60 ms
        try:
            return self.encoding.encode(text, **kwargs)
        except ValueError as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise TokenizerError(
                f"this text cannot be encoded: {reason}; take that out of the text, "
                "or pass disallowed_special=() to spell control tokens out as ordinary characters"
            ) from error

    def decode(self, token_ids: Iterable[int], errors: str = "replace") -> str:
        """The text of token ids, without timestamps; other control tokens stay visible.

        Bytes that do not form a whole character become U+FFFD, or raise with ``errors="strict"``.

        >>> get_tokenizer(False).decode([50363, 18435, 11, 995, 0, 50463, 50256])
        ' Hello, world!<|endoftext|>'
        """
        return self.encoding.decode([token for token in self._valid(token_ids) if token < self.timestamp_begin], errors)

    def decode_with_timestamps(self, token_ids: Iterable[int], errors: str = "replace") -> str:
        """The text of token ids with timestamps written out.

        >>> get_tokenizer(False).decode_with_timestamps([50363, 18435, 11, 995, 0, 50463])
        '<|0.00|> Hello, world!<|2.00|>'
        """
        return self.encoding.decode(self._valid(token_ids), errors)

    def _valid(self, token_ids: Iterable[int]) -> list[int]:
        """Python integers, all of them in the vocabulary: tiktoken's compiled part must never see others."""
        ids = [operator.index(token) for token in token_ids]
        outside = [token for token in ids if not 0 <= token < self.encoding.n_vocab]
        if outside:
            raise TokenizerError(
                f"token id {outside[0]} is not in this vocabulary of {self.encoding.n_vocab}; give ids from 0 to "
                f"{self.encoding.n_vocab - 1} and check that tokens and tokenizer come from the same model"
            )
        return ids

    @cached_property
    def eot(self) -> int:
        """End of text; every smaller id is text, every larger one a control token or timestamp."""
        return self.special_tokens["<|endoftext|>"]

    @cached_property
    def sot(self) -> int:
        """Start of transcript."""
        return self.special_tokens["<|startoftranscript|>"]

    @cached_property
    def translate(self) -> int:
        """The task of translating to English."""
        return self.special_tokens["<|translate|>"]

    @cached_property
    def transcribe(self) -> int:
        """The task of writing down what was said, in its own language."""
        return self.special_tokens["<|transcribe|>"]

    @cached_property
    def sot_lm(self) -> int:
        """Start of language model; in the vocabulary but unused by the published models."""
        return self.special_tokens["<|startoflm|>"]

    @cached_property
    def sot_prev(self) -> int:
        """Start of the previous text, which is the prompt."""
        return self.special_tokens["<|startofprev|>"]

    @cached_property
    def no_speech(self) -> int:
        """Predicted right after `sot` when nobody speaks."""
        return self.special_tokens["<|nospeech|>"]

    @cached_property
    def no_timestamps(self) -> int:
        """Asks for text without timestamps."""
        return self.special_tokens["<|notimestamps|>"]

    @cached_property
    def timestamp_begin(self) -> int:
        """The timestamp of 0.00 s; the following 1500 ids step by 0.02 s."""
        return self.special_tokens["<|0.00|>"]

    @cached_property
    def language_token(self) -> int:
        """The token of this tokenizer's language."""
        if self.language is None:
            raise TokenizerError("this tokenizer has no language; make one with get_tokenizer(True, language=...)")
        return self.to_language_token(self.language)

    def to_language_token(self, language: str) -> int:
        """The token of a language given by code, name or alias; `LanguageError` if this vocabulary lacks it.

        >>> get_tokenizer(True).to_language_token("Japanese")
        50266
        """
        return self.special_tokens[f"<|{check_language(language, self.num_languages)}|>"]

    @cached_property
    def all_language_codes(self) -> tuple[str, ...]:
        """Codes of the vocabulary's languages, in the order of their ids."""
        return tuple(LANGUAGES)[: self.num_languages]

    @cached_property
    def all_language_tokens(self) -> tuple[int, ...]:
        """Tokens of the vocabulary's languages, ascending, in step with `all_language_codes`."""
        return tuple(map(self.to_language_token, self.all_language_codes))

    @cached_property
    def sot_sequence_including_notimestamps(self) -> tuple[int, ...]:
        """`sot_sequence` for text without timestamps."""
        return (*self.sot_sequence, self.no_timestamps)

    @cached_property
    def non_speech_tokens(self) -> tuple[int, ...]:
        """Tokens of sound and speaker notes such as ``[MUSIC]`` or ``♪``, ascending; not of ordinary punctuation."""
        # A hyphen or an apostrophe belongs inside a word, so only the ones that open a word are noise.
        noise = {self.encode(opening)[0] for opening in (" -", " '")}
        for mark in [*NOISE_MARKS.split(), *NOISE_RUNS.split(), *MUSIC_SIGNS]:
            for ids in (self.encode(mark), self.encode(" " + mark)):
                # Of a music sign in several tokens the first will do: its bytes begin only signs of U+2640 to U+267F.
                if len(ids) == 1 or mark in MUSIC_SIGNS:
                    noise.add(ids[0])
        return tuple(sorted(noise))

    def split_to_word_tokens(self, tokens: Iterable[int]) -> tuple[list[str], list[list[int]]]:
        """Words and the tokens of each; at spaces, or between characters where the language writes no spaces.

        Nothing is lost: the words joined are the text (timestamps written out), their tokens joined are `tokens`.

        >>> get_tokenizer(False).split_to_word_tokens([24709, 5444, 39529, 0])
        ([' Speech', ' spectrogram', '!'], [[24709], [5444, 39529], [0]])
        """
        unspaced = self.language in UNSPACED
        return self.split_tokens_on_unicode(tokens) if unspaced else self.split_tokens_on_spaces(tokens)

    def split_tokens_on_unicode(self, tokens: Iterable[int]) -> tuple[list[str], list[list[int]]]:
        """The shortest runs of tokens that hold whole characters, and the tokens of each.

        A character's bytes may be spread over several tokens, which then stay together.
        """
        ids = self._valid(tokens)
        text = self.encoding.decode_bytes(ids)
        words: list[str] = []
        word_tokens: list[list[int]] = []
        first = start = 0  # of the word being built: its first token, its first byte
        for after, end in enumerate(accumulate(map(len, self.encoding.decode_tokens_bytes(ids))), start=1):
            if _splits_a_character(text[start:end], text[end:]):
                continue
            words.append(_replaced(text[start:end]))
            word_tokens.append(ids[first:after])
            first, start = after, end
        return words, word_tokens

    def split_tokens_on_spaces(self, tokens: Iterable[int]) -> tuple[list[str], list[list[int]]]:
        """Words that begin at a space, and the tokens of each; punctuation marks and control tokens stand alone."""
        words: list[str] = []
        word_tokens: list[list[int]] = []
        for piece, ids in zip(*self.split_tokens_on_unicode(tokens), strict=True):
            # A substring test as upstream's: "" and "()" count as marks, "..." does not and stays with its word.
            mark = piece.strip() in string.punctuation
            if not words or ids[0] >= self.eot or piece.startswith(" ") or mark:
                words.append(piece)
                word_tokens.append(ids)
            else:
                words[-1] += piece
                word_tokens[-1] += ids
        return words, word_tokens


def _splits_a_character(left: bytes, right: bytes) -> bool:
    """Whether a cut between two byte strings changes their text: decoded together they give another one."""
    text = _replaced(left)
    return "\ufffd" in text and text + _replaced(right) != _replaced(left + right)


def _replaced(text: bytes) -> str:
    """UTF-8 to str, with U+FFFD for what is not a whole character."""
    return text.decode("utf-8", errors="replace")


def get_encoding(name: str = "gpt2", num_languages: int = 99) -> Encoding:
    """The bare byte-pair encoding of a vocabulary, special tokens included; made once and kept.

    Parameters
    ----------
    name : str
        ``"gpt2"`` for the English-only models, ``"multilingual"`` for the others.
    num_languages : int
        99, or 100 from large-v3 on; in general ``n_vocab - 51765 - multilingual``.

    Raises
    ------
    TokenizerError
        If there is no such vocabulary, or more languages are wanted than Whisper has.

    >>> get_encoding("multilingual", num_languages=100).n_vocab
    51866
    """
    if name not in ("gpt2", "multilingual"):
        raise TokenizerError(f"unknown vocabulary {name!r}; there are 'gpt2' (English only) and 'multilingual'")
    if not 0 < num_languages <= len(LANGUAGES):
        raise TokenizerError(
            f"a vocabulary of {num_languages} languages is unknown; give 1 to {len(LANGUAGES)} (99 or 100)"
        )
    return _build_encoding(name, num_languages)


@cache
def _build_encoding(name: str, num_languages: int) -> Encoding:
    """Byte sequences from the file, then the control tokens, then the timestamps, numbered through."""
    import tiktoken

    ranks = _read_ranks(name)
    languages = (f"<|{code}|>" for code in tuple(LANGUAGES)[:num_languages])
    tasks = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")
    special = ("<|endoftext|>", "<|startoftranscript|>", *languages, *tasks, *TIMESTAMPS)
    return tiktoken.Encoding(
        name=f"{name}.tiktoken",
        pat_str=PIECES,
        mergeable_ranks=ranks,
        special_tokens={token: len(ranks) + n for n, token in enumerate(special)},
        explicit_n_vocab=len(ranks) + len(special),
    )


@cache
def _read_ranks(name: str) -> dict[bytes, int]:
    """Byte sequence → id, from lines of base64 and a number."""
    from base64 import b64decode
    from importlib.resources import files

    with (files("npwhisper") / "assets" / f"{name}.tiktoken").open("rb") as file:
        entries = (line.split() for line in file)
        # The last multilingual line is a lone "=" for the empty sequence, which strict base64 readers refuse.
        return {b"" if word == b"=" else b64decode(word): int(rank) for word, rank in entries}


@cache
def get_tokenizer(
    multilingual: bool, *, num_languages: int = 99, language: str | None = None, task: str | None = None
) -> Tokenizer:
    """The tokenizer for a model, a language and a task; made once for the same arguments.

    Parameters
    ----------
    multilingual : bool
        False for the ``.en`` models, whose tokenizer has neither language nor task.
    num_languages : int
        ``model.num_languages``: 99, or 100 from large-v3 on.
    language : str or None
        Code, English name or alias in any case; None means English.
    task : str or None
        ``"transcribe"`` (also for None) or ``"translate"``.

    Returns
    -------
    Tokenizer
        Shared by all callers: do not change it.

    Raises
    ------
    TokenizerError
        For an unknown task; its subclass `LanguageError` for an unknown language, or one that the vocabulary lacks.

    >>> get_tokenizer(True, language="German").sot_sequence
    (50258, 50261, 50359)
    >>> get_tokenizer(False).sot_sequence
    (50257,)
    """
    if multilingual:
        code = check_language("en" if language is None else language, num_languages)
        return Tokenizer(get_encoding("multilingual", num_languages), num_languages, code, task or "transcribe")
    if language is not None:
        check_language(language)
    return Tokenizer(get_encoding("gpt2", num_languages), num_languages)
