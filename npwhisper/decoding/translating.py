"""Which models can translate to English, and a warning for the others."""

from __future__ import annotations

import warnings

from npwhisper.model import Network

TURBO = (32, 4)  # layers of encoder and decoder


def warn_of_translation(model: Network, task: str) -> None:
    """Warn if `task` is "translate" and the model was not trained for it."""
    advice = "translate with a multilingual model that learned to, such as 'medium' or 'large-v3'"
    if task == "translate" and not model.is_multilingual:
        message = f"an English-only model transcribes, whatever the task: {advice}"
        warnings.warn(message, stacklevel=2)
    elif task == "translate" and (model.dims.n_audio_layer, model.dims.n_text_layer) == TURBO:
        message = f"turbo was not trained to translate, and answers in the language that is spoken: {advice}"
        warnings.warn(message, stacklevel=2)
