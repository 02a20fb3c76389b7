"""The rules of the EEG Foundation Challenge that training and scoring follow (https://eeg2025.github.io)."""

from __future__ import annotations

# Named in the challenge's start kit as subjects to leave out.
START_KIT_EXCLUSIONS = (
    *("NDARWV769JM7", "NDARME789TD2", "NDARUA442ZVF", "NDARJP304NK1", "NDARTY128YLU"),
    *("NDARDW550GU6", "NDARLD243KRE", "NDARUJ292JXV", "NDARBA381JGH"),
)

VALIDATION_RELEASE = "R5"  # set aside for validation
SEEN_SECONDS = {"challenge2": 2.0}  # of a window, where the evaluator gives less than all of it
SCORED_TASK = {"challenge1": "contrastChangeDetection", "challenge2": "contrastChangeDetection"}
CROP_SEED = 42  # of the evaluator's crops, anew for each recording
WEIGHTS = {"challenge1": 0.3, "challenge2": 0.7}  # of the overall score
NUMBERS = {"challenge1": 1, "challenge2": 2}  # in the names that the evaluator asks for
