"""Many recordings, many processes, perhaps many machines: what can be resumed is in one manifest."""
