"""
# Training curves

A small network learns the reaction time from the training subjects. The lines
are the baselines on the validation subjects: the mean, and a ridge regression
on band power and time bins.
"""

import csv

import matplotlib.pyplot as plt

from eegzarr.train import FitOptions, fit

options = FitOptions(
    lake="demo/lake.zarr",
    epochs=5,
    batch_size=16,
    learning_rate=0.005,
    device="cpu",
)
valid = fit(options, "demo/run").scores["valid"]
with open("demo/run/metrics.csv") as file:
    scores = [float(row["valid_score"]) for row in csv.DictReader(file)]

fig, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
ax.plot(scores, ".-", label="network")
ax.axhline(valid.constant, color="grey", linestyle="--", label="mean")
ax.axhline(valid.ridge, color="grey", linestyle=":", label="ridge")
ax.set(xlabel="epoch", ylabel="validation NRMSE")
ax.legend()
