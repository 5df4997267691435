"""Efficiency: everything that makes the formulas of `npwhisper.model` fast."""
