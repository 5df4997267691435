#!/usr/bin/env python3
"""The mean of the weights that one run had at several times.

    average.py OUT.pt SMALL.pt SMALL.pt ...

Weights along one path, with a high learning rate early and a low one late, lie around a better place than any of them
(Wortsman et al. 2022, "Model soups").
"""

from __future__ import annotations

import sys

import torch


def main() -> None:
    out, *paths = sys.argv[1:]
    runs = [torch.load(path, map_location="cpu", weights_only=True) for path in paths]
    mean = {k: torch.stack([run["weights"][k].float() for run in runs]).mean(0).half() for k in runs[0]["weights"]}
    torch.save({**runs[-1], "weights": mean}, out)


if __name__ == "__main__":
    main()
