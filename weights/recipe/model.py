"""The Whisper network for training: OpenAI's layer names, plus what only training needs.

Only the first N byte-pair tokens and the 1,608 special tokens of the English-only vocabulary have rows of their own.
All other rows of the official 51,864 share one "dead" row: its logit is counted with + ln(number of such rows), so the
softmax is exactly that of the full matrix. `export.py` writes the full matrix out again.

Training-only parts (names begin with "aux_", dropped at export): a letter CTC head and a phone-per-frame head on the
encoder. They make a network which starts from nothing find the relation of sound and text quickly.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

N_SPECIAL, FIRST_SPECIAL, N_VOCAB = 1608, 50256, 51864
EOT, SOT, PREV, NOSPEECH, NOSTAMPS, STAMP0 = 50256, 50257, 50360, 50361, 50362, 50363
Tensor = torch.Tensor


def compact(ids: Any, base_tokens: int) -> Any:
    """Official token ids -> row numbers of the compact embedding."""
    ids = np.asarray(ids)
    own = np.where(ids < base_tokens, ids, base_tokens + N_SPECIAL)
    return np.where(ids >= FIRST_SPECIAL, ids - FIRST_SPECIAL + base_tokens, own)


def sinusoids(length: int, channels: int, max_timescale: float = 10000) -> Tensor:
    """Sines in the first half of the channels, cosines in the second."""
    inc = math.log(max_timescale) / (channels // 2 - 1)
    t = torch.arange(length)[:, None] * torch.exp(-inc * torch.arange(channels // 2))[None]
    return torch.cat([t.sin(), t.cos()], 1)


class Attention(nn.Module):
    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(d, d), nn.Linear(d, d, bias=False)
        self.value, self.out = nn.Linear(d, d), nn.Linear(d, d)

    def split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def forward(
        self, x: Tensor, y: Tensor | None = None, causal: bool = False, show: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Self-attention of x, or attention from x to y. show=True also returns the weights of the first head."""
        y = x if y is None else y
        q, k, v = self.split(self.query(x)), self.split(self.key(y)), self.split(self.value(y))
        o = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        w = (q[:, 0] @ k[:, 0].transpose(1, 2) * (q.shape[-1] ** -0.5)).float().softmax(-1) if show else None
        return self.out(o.transpose(1, 2).flatten(2)), w


class Block(nn.Module):
    def __init__(self, d: int, heads: int, cross: bool) -> None:
        super().__init__()
        self.attn, self.attn_ln = Attention(d, heads), nn.LayerNorm(d)
        if cross:
            self.cross_attn, self.cross_attn_ln = Attention(d, heads), nn.LayerNorm(d)
        self.mlp, self.mlp_ln = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d)), nn.LayerNorm(d)
        self.cross = cross

    def forward(self, x: Tensor, audio: Tensor | None = None, show: bool = False) -> tuple[Tensor, Tensor | None]:
        x = x + self.attn(self.attn_ln(x), causal=self.cross)[0]
        w = None
        if self.cross:
            o, w = self.cross_attn(self.cross_attn_ln(x), audio, show=show)
            x = x + o
        return x + self.mlp(self.mlp_ln(x)), w


class Encoder(nn.Module):
    positional_embedding: Tensor

    def __init__(self, mels: int, d: int, heads: int, layers: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(mels, d, 3, padding=1), nn.Conv1d(d, d, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding", sinusoids(1500, d))
        self.blocks = nn.ModuleList(Block(d, heads, False) for _ in range(layers))
        self.ln_post = nn.LayerNorm(d)

    def forward(self, mel: Tensor, offset: Tensor) -> Tensor:
        """offset: first encoder position of each window, when only a part of the 30 seconds is shown."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.positional_embedding[offset[:, None] + torch.arange(x.shape[1], device=x.device)]
        for b in self.blocks:
            x = b(x)[0]
        y: Tensor = self.ln_post(x)
        return y


class Decoder(nn.Module):
    def __init__(self, rows: int, d: int, heads: int, layers: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(rows, d)
        self.positional_embedding = nn.Parameter(torch.randn(448, d) * 0.01)
        self.blocks = nn.ModuleList(Block(d, heads, True) for _ in range(layers))
        self.ln = nn.LayerNorm(d)

    def forward(self, ids: Tensor, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The features of every token, and the weights of the guided heads: the first of each layer but the lowest."""
        x, weights = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]], []
        for k, b in enumerate(self.blocks):
            x, w = b(x, audio, k > 0)
            weights += [w] if k > 0 else []
        return self.ln(x), weights


class Nano(nn.Module):
    def __init__(self, dims: dict[str, int], base_tokens: int, letters: int, phones: int) -> None:
        super().__init__()
        d = dims["n_audio_state"]
        self.base_tokens = base_tokens
        self.encoder = Encoder(dims["n_mels"], d, dims["n_audio_head"], dims["n_audio_layer"])
        self.decoder = Decoder(base_tokens + N_SPECIAL + 1, d, dims["n_text_head"], dims["n_text_layer"])
        self.aux_ctc, self.aux_phone = nn.Linear(d, letters + 1), nn.Linear(d, phones)
        self.start()

    @torch.no_grad()
    def start(self) -> None:
        """Initial weights: small residual branches; each timestamp begins as a faint copy of its encoder position."""
        for m in self.modules():
            if isinstance(m, nn.Linear | nn.Embedding):
                nn.init.normal_(m.weight, std=0.02 if isinstance(m, nn.Embedding) else m.weight.shape[1] ** -0.5)
            if isinstance(m, nn.Linear) and m.bias is not None:
                nn.init.zeros_(m.bias)
        for blocks in (self.encoder.blocks, self.decoder.blocks):
            for b in blocks:
                for linear in [b.attn.out, b.mlp[2]] + ([b.cross_attn.out] if b.cross else []):
                    linear.weight *= (2 * len(blocks)) ** -0.5
        e = self.decoder.token_embedding.weight
        e[self.first_stamp : self.first_stamp + 1501] += 0.04 * sinusoids(1501, e.shape[1])

    @property
    def first_stamp(self) -> int:
        return self.base_tokens + STAMP0 - FIRST_SPECIAL

    def log_probs(self, x: Tensor) -> Tensor:
        z = F.linear(x, self.decoder.token_embedding.weight).float()
        z = torch.cat([z[..., :-1], z[..., -1:] + math.log(FIRST_SPECIAL - self.base_tokens)], -1)
        return z.log_softmax(-1)
