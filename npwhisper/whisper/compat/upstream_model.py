"""Classes of openai-whisper's ``model.py``, each of which is a function here, `Whisper`, and two old names of ours."""

from npwhisper.compute.elementwise import row_sum
from npwhisper.compute.products import inner
from npwhisper.whisper import Whisper
from npwhisper.whisper.compat.elsewhere import elsewhere

__all__ = [
    "AudioEncoder",
    "Conv1d",
    "LayerNorm",
    "Linear",
    "MultiHeadAttention",
    "ResidualAttentionBlock",
    "TextDecoder",
    "Whisper",
    "product",
    "total",
]

product, total = inner, row_sum

_ATTENTION = "use npwhisper.model.self_attention and cross_attention; npwhisper.trace records what they compute"
_BLOCK = "use npwhisper.model.encoder_block(x, w, n_head) and decoder_block; npwhisper.trace records what they compute"

LayerNorm = elsewhere("LayerNorm", "use npwhisper.model.layer_norm(x, w)")
Linear = elsewhere("Linear", "use npwhisper.model.linear(x, w)")
Conv1d = elsewhere("Conv1d", "use npwhisper.model.conv1d(x, w, stride)")
MultiHeadAttention = elsewhere("MultiHeadAttention", _ATTENTION)
ResidualAttentionBlock = elsewhere("ResidualAttentionBlock", _BLOCK)
AudioEncoder = elsewhere("AudioEncoder", "use npwhisper.model.encoder(mel, w, n_head), or model.embed_audio(mel)")
TextDecoder = elsewhere("TextDecoder", "use npwhisper.model.decoder, or model.logits(tokens, audio_features)")
