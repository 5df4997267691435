"""Transcripts as txt, vtt, srt, tsv and json."""
