"""The rules of the EEG Foundation Challenge that training and scoring follow (https://eeg2025.github.io)."""

from __future__ import annotations

# Named in the challenge's start kit as subjects to leave out.
START_KIT_EXCLUSIONS = (
    *("NDARWV769JM7", "NDARME789TD2", "NDARUA442ZVF", "NDARJP304NK1", "NDARTY128YLU"),
    *("NDARDW550GU6", "NDARLD243KRE", "NDARUJ292JXV", "NDARBA381JGH"),
)

VALIDATION_RELEASE = "R5"  # set aside for validation
SEEN_SECONDS = {"challenge2": 2.0}  # of a window, where the evaluator gives less than all of it
GIVEN_SECONDS = 2.0  # of a window, to the models of both challenges
SCORED_TASK = {"challenge1": "contrastChangeDetection", "challenge2": "contrastChangeDetection"}
CROP_SEED = 42  # of the evaluator's crops, again for each recording
WEIGHTS = {"challenge1": 0.3, "challenge2": 0.7}  # of the overall score
NUMBERS = {"challenge1": 1, "challenge2": 2}  # in the names that the evaluator asks for

# Models whose weights and outputs are the same in braindecode 1.2.0, of the time of the challenge, and in 1.8.1:
# weights of the older one loaded into the newer one, for windows of 129 channels x 200 samples. Of others there are
# other weights, other outputs, or no model in 1.2.0.
SAME_IN_BRAINDECODE_1_2 = (
    *("ATCNet", "AttentionBaseNet", "ContraWR", "Deep4Net", "EEGInceptionERP", "EEGInceptionMI", "EEGMiner", "EEGNeX"),
    *("EEGNet", "EEGSimpleConv", "MSVTNet", "SCCNet", "SPARCNet", "ShallowFBCSPNet", "SignalJEPA_PostLocal"),
    *("SignalJEPA_PreLocal", "SleepStagerChambon2018", "TCN", "TIDNet", "TSception", "USleep"),
)
