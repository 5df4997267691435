"""The laboratory: check a function, compare with torch, plot, grade."""
