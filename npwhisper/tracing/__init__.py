"""The seam: every layer can be recorded, replaced or timed by name."""
