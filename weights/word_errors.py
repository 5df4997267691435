"""Count the words that npwhisper and openai-whisper get wrong on the recordings of `tests/data`.

    python weights/word_errors.py tiny.en FOLDER/base.safetensors     prints a table in Markdown

Needs openai-whisper, for its results and for its normalizer of English, which is that of Whisper's paper (appendix C):
capitals, punctuation, fillers, spellings and the ways to write a number do not count. The options are the defaults of
the command line: five beams, and sampling at higher temperatures where a text fails (each engine draws its own).
"""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import whisper
from whisper.normalizers import EnglishTextNormalizer

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import npwhisper  # noqa: E402

OPTIONS: dict[str, Any] = {"language": "en", "beam_size": 5, "best_of": 5}
SETS = ("jfk", "austen", "sonnet", "speechocean")


def recordings() -> Iterator[tuple[str, Path, str]]:
    """Set, file, and what is said in it."""
    with open(ROOT / "tests" / "data" / "transcripts.tsv", encoding="utf-8") as table:
        for row in csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE):
            path = ROOT / "tests" / "data" / row["file"]
            yield path.stem.split("_")[0], path, row["text"]


def word_errors(said: list[str], written: list[str]) -> int:
    """Insertions, deletions and substitutions that turn one list of words into the other.

    >>> word_errors("ask not what".split(), "ask what what else".split())
    2
    """
    cost = np.arange(len(written) + 1)
    for i, word in enumerate(said, 1):
        above, cost[0] = cost.copy(), i
        for j, other in enumerate(written, 1):
            cost[j] = min(above[j] + 1, cost[j - 1] + 1, above[j - 1] + (word != other))
    return int(cost[-1])


def their_model(ours: npwhisper.Whisper) -> Any:
    """openai-whisper's model with our weights."""
    theirs = whisper.model.Whisper(whisper.ModelDimensions(**vars(ours.dims))).eval()
    theirs.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in ours.weights.items()})
    return theirs


def counts(transcribe: Any) -> dict[str, list[int]]:
    """Wrong words and all words, by set."""
    normalize, found = EnglishTextNormalizer(), {name: [0, 0] for name in SETS}
    for name, path, text in recordings():
        said = normalize(text).split()
        written = normalize(transcribe(npwhisper.load_audio(path))).split()
        found[name][0] += word_errors(said, written)
        found[name][1] += len(said)
    return found


@torch.no_grad()
def main() -> None:
    warnings.simplefilter("ignore", ResourceWarning)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| model | by | " + " | ".join(SETS) + " | all |\n|---|---|" + "---|" * (len(SETS) + 1))
    for name in sys.argv[1:] or ["tiny.en"]:
        ours = npwhisper.load_model(name)
        theirs = their_model(ours)
        engines = {
            "npwhisper": lambda x, m=ours: m.transcribe(x, **OPTIONS)["text"],
            "openai-whisper": lambda x, m=theirs: m.transcribe(x, fp16=False, **OPTIONS)["text"],
        }
        for engine, transcribe in engines.items():
            found = counts(transcribe)
            total = np.sum(list(found.values()), axis=0)
            cells = [f"{wrong} / {words}" for wrong, words in found.values()]
            cells += [f"{total[0] / total[1]:.1%}"]
            print(
                f"| {name.split('/')[-1].removesuffix('.safetensors')} | {engine} | {' | '.join(cells)} |", flush=True
            )


if __name__ == "__main__":
    main()
