"""Draw `words_over_mel.png`, the picture of the README: a recording as log-mel spectrogram, with its words."""

from pathlib import Path

import matplotlib.pyplot as plt

import npwhisper
from npwhisper.lab import notebooks

FOLDER = Path(__file__).parent


def main() -> None:
    samples = npwhisper.load_audio(npwhisper.example())
    result = npwhisper.transcribe(samples, word_timestamps=True)
    timings = npwhisper.align(samples, [t for s in result["segments"] for t in s["tokens"]])
    notebooks.use_style()
    _, ax = plt.subplots(figsize=(9, 3))
    npwhisper.plot_alignment(timings, npwhisper.log_mel_spectrogram(samples), ax=ax)
    ax.figure.savefig(FOLDER / "words_over_mel.png", dpi=110)


if __name__ == "__main__":
    main()
