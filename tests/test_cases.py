"""Inputs that failed once, and the tests that hold what is right for each.

The inputs came from reports of people who use Whisper engines every day, and from attacks. A test that is renamed or
removed must find its successor here.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from talkers import ENGLISH, talker

import npwhisper
from npwhisper.tracing.seam import Array

TESTS = Path(__file__).parent

CASES = {  # the input -> the tests, as file and name; those of `parity` need OpenAI's weights
    "a VBR MP3 without a Xing header": [
        "audio/test_mp3.py::test_the_number_of_samples_is_ffmpegs_within_a_frame_and_whole_files_give_no_warning",
        "audio/test_mp3.py::test_every_handle_reads_to_the_end",
    ],
    "two MP3s joined": ["audio/test_mp3.py::test_joined_files_are_read_one_after_another"],
    "a whole FLAC of unknown length": ["audio/test_chains.py::test_a_flac_of_unknown_length_gives_no_warning"],
    "a WAV whose data have the size 0": ["audio/test_chains.py::test_a_wave_whose_recorder_crashed_is_read_to_the_end"],
    "recordings that state no length": [
        "audio/test_ffmpeg.py::test_what_was_written_to_a_pipe_gives_no_warning",
        "audio/test_ffmpeg.py::test_a_cut_of_what_was_written_to_a_pipe_is_known",
        "audio/test_endings.py::test_a_cut_within_a_part_is_known_wherever_it_is",
        "audio/test_open_ended.py::test_all_is_read_and_a_cut_within_a_sample_is_known",
    ],
    "two recordings of one stem": ["test_command_line.py::test_recordings_of_one_name_are_refused_before_any_work"],
    "surround sound with noise and rumble": [
        "audio/test_mixing.py::test_the_mix_equals_ffmpegs",
        "audio/test_mixing.py::test_low_effects_are_left_out_and_speech_in_the_centre_is_not_drowned",
    ],
    "a language after silence that is skipped": [
        "transcription/test_transcription.py::test_the_silence_that_is_skipped_does_not_decide_the_language",
        "parity/test_languages.py::test_the_language_is_that_of_the_speech_not_of_the_silence_before",
    ],
    "a fine-tune with added tokens": [
        "checkpoint/test_checkpoint_huggingface.py::test_added_tokens_are_left_out_with_a_warning",
        "checkpoint/test_checkpoint_huggingface.py::test_the_control_tokens_are_read_from_the_settings",
        "parity/test_against_torch_checkpoint.py::test_added_tokens_leave_the_others_as_they_are",
    ],
    "an output projection of its own": [
        "checkpoint/test_checkpoint_huggingface.py::test_an_output_projection_of_its_own_is_refused"
    ],
    "an arrow in a cue": ["transcription/output/test_writers.py::test_no_arrow_of_the_text_ends_the_line_of_times"],
    "a cue that lasts no time": [
        "transcription/output/test_writers.py::test_every_cue_lasts_at_least_a_millisecond",
        "transcription/output/test_writers.py::test_words_that_last_no_time_are_underlined_with_a_neighbour",
        "timing/test_spreading.py::test_every_word_of_a_transcription_lasts_and_is_shown_in_a_cue_of_its_own",
    ],
    "a fork while another thread transcribes": [
        "compute/test_concurrency.py::test_a_fork_while_another_thread_computes_does_not_hang",
        "transcription/test_soak.py::test_forks_and_kills_leave_nothing_hanging_or_wrong",
    ],
    "a name of more than 240 bytes": [
        "test_command_line.py::test_a_name_is_refused_before_the_work_or_written_after_it",
        "test_command_line.py::test_the_journal_of_a_long_name_is_resumed",
        "transcription/output/test_writers.py::test_a_name_as_long_as_the_file_system_takes_is_written",
    ],
    "no network": ["checkpoint/test_download.py::test_the_command_line_says_in_one_line_that_there_is_no_network"],
    "a program made by PyInstaller": ["whisper/compat/test_pyinstaller.py::test_the_hook_adds_the_assets"],
    "a layer whose result has a wrong shape": [
        "tracing/test_swap.py::test_a_wrong_shape_names_the_layer_what_it_returned_and_what_was_wanted"
    ],
    "a layer that makes NaN": ["test_cases.py::test_a_swapped_layer_that_makes_nan_is_named"],
    "checkpoints of other kinds": [
        "checkpoint/test_checkpoint_huggingface.py::test_other_folders_get_advice",
        "checkpoint/test_checkpoint_huggingface.py::test_a_file_that_is_a_part_is_refused_with_advice",
        "checkpoint/test_checkpoint_mlx.py::test_every_bit_is_kept",
        "parity/test_against_torch_checkpoint.py::test_a_whole_pickled_module_is_refused_by_name",
    ],
    "languages with a region, and those that nobody knows": [
        "test_tokenizer.py::test_tags_of_regions_scripts_and_other_codes",
        "test_tokenizer.py::test_a_language_that_nobody_knows_gets_the_advice_that_helps",
        "test_command_line.py::test_languages_of_the_command_line",
    ],
    "a playlist that names other files": [
        "audio/test_ffmpeg.py::test_a_playlist_reads_no_other_file",
        "audio/test_ffmpeg.py::test_a_stalled_ffmpeg_is_stopped",
        "audio/test_ffmpeg.py::test_ffmpeg_ends_when_we_are_killed",
    ],
    "two runs on one output": [
        "transcription/test_journal.py::test_a_second_run_on_the_same_output_is_refused",
        "transcription/test_journal.py::test_windows_must_continue_one_another",
    ],
    "a thread at the interpreter's end": ["compute/test_concurrency.py::test_the_interpreters_end_loses_no_work"],
    "a recording that shrinks while it is read": [
        "audio/test_chains.py::test_a_file_that_becomes_shorter_while_it_is_read_gives_a_warning"
    ],
    "weights that change while they are mapped": [
        "checkpoint/test_weights.py::test_a_mapped_file_that_was_written_to_is_told"
    ],
    "a header that claims hours": ["audio/test_chains.py::test_a_header_cannot_ask_for_hours_of_silence"],
    "a FLAC with a gap": [
        "audio/test_flac_frames.py::test_frames_that_are_missing_give_a_warning",
        "audio/test_flac_frames.py::test_damage_in_the_middle_gives_a_warning_and_keeps_the_length",
    ],
    "hostile checkpoints": [
        "checkpoint/test_checkpoint_hostile.py::test_hostile_files",
        "checkpoint/test_checkpoint_hostile.py::test_every_hostile_file_stays_under_the_caps",
    ],
    "hostile assignments": [
        "lab/grading/test_attacks.py::test_a_pickle_sent_in_place_of_the_answer_is_not_opened",
        "lab/grading/test_attacks.py::test_half_a_message_costs_the_time_limit_and_no_more",
        "lab/grading/test_attacks.py::test_what_is_printed_cannot_look_like_the_graders_own_lines",
        "lab/grading/test_attacks.py::test_a_file_that_imports_only_once_loses_what_it_breaks_and_nothing_crashes",
        "lab/grading/test_attacks.py::test_other_processes_are_refused_and_those_started_anyway_are_ended",
        "lab/grading/test_attacks.py::test_one_functions_settings_reach_no_other",
    ],
}


@pytest.mark.parametrize("case", CASES)
def test_every_input_that_failed_has_tests(case: str) -> None:
    assert CASES[case]
    for place in CASES[case]:
        file, name = place.split("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, place


def test_a_swapped_layer_that_makes_nan_is_named() -> None:
    """Not the recording, in which nothing is wrong."""

    def softmax(x: Array) -> Array:
        with np.errstate(all="ignore"):
            powers: Any = np.exp(x * 1000)
            return np.asarray(powers / powers.sum(-1, keepdims=True))

    with npwhisper.swap(softmax=softmax), pytest.raises(ValueError, match="NaN or infinity") as caught:
        talker(ENGLISH).transcribe(npwhisper.example(), temperature=0)
    assert "'encoder.blocks.0.attn.softmax' is the first layer whose result holds NaN" in str(caught.value)
    assert "audio" not in str(caught.value)


def test_the_arrow_of_the_report_is_gone() -> None:
    """Under the name that the report used."""
    from npwhisper.writers import to_vtt  # type: ignore[import-not-found, unused-ignore]

    text = to_vtt({"segments": [{"start": 0, "end": 1, "text": " a ---> b"}]})
    assert text.count("-->") == 1
