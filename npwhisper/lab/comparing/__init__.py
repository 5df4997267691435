"""Compare npwhisper with torch, layer by layer: which layer is the first to differ?

`trace` records what npwhisper computes, and `capture_torch` what a model of openai-whisper or transformers computes,
under the same names. `compare` walks both in the order of execution; a layer is finished before the block around it, so
the first difference is the innermost.

The names are those of openai-whisper's modules, with one exception: ``mlp.1``, a module without weights, is called
``mlp.gelu`` here. Functions that are not modules in torch are recorded too. From torch, they are captured as input or
output of a module, or computed from one:

    encoder.gelu                          GELU of conv1 and conv2          from their outputs
    attn.split_heads, attn.merge_heads    split and merged heads           not captured
    attn.causal_mask                      mask of later positions          not captured
    attn.scores, attn.softmax             query times key, and weights     second output of attn
    attn.attend                           weighted mean of the values      input of attn.out
    decoder.logits                        the same as decoder              output of decoder
"""

from npwhisper.lab.comparing.capturing import capture_torch, in_float64, our_name
from npwhisper.lab.comparing.differences import Comparison, Difference, compare, first_difference
from npwhisper.lab.comparing.files import load_activations, save_activations

__all__ = [
    "Comparison",
    "Difference",
    "capture_torch",
    "compare",
    "first_difference",
    "in_float64",
    "load_activations",
    "our_name",
    "save_activations",
]
