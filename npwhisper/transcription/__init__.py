"""Whole recordings, window by window."""
