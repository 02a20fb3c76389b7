"""The baseline beside every score: a ridge for numbers, a logistic regression for classes."""

from __future__ import annotations

import xarray as xr

from eegzarr.train.models.predictor import LinearReadout, Predictor
from eegzarr.train.models.ridge import fit_ridge
from eegzarr.train.task import Given


def fit_baseline(train: xr.Dataset, model: Predictor, given: Given) -> LinearReadout:
    """Fit to a training part what a linear model of simple features makes of a model's task."""
    if not model.classes:
        return fit_ridge(train, model, given=given)
    from eegzarr.train.models.logistic import fit_logistic  # scikit-learn takes a second to load

    return fit_logistic(train, model, given)
