"""What the words of a report mean, for readers who have not met them."""

from __future__ import annotations

ENTRANTS = (
    "Learned worlds (blue): mixed is linear dynamics; in brackets what may differ from subject to subject (none: "
    "nothing; action: the response to treatment; full: everything), and whether the distance from the recent average "
    "counts (memory). + network: a small neural network corrects its steps. mechanism: equations of the study; "
    "+ kernel: corrected by what they missed of similar training subjects. In "
    "thorough fits only: smooth, a Gaussian process, which averages what followed similar situations under similar "
    "doses, and recurrent, a neural network that reads the whole history.",
    "Simple rules (orange): persistence repeats the last value, mean says the average of the others, trend goes on as "
    "the subject did, direct is a linear regression for each time ahead, ridge one that is applied step by step, knn "
    "the nearest past situations.",
)
CRPS = (
    "CRPS is the distance between a forecast with its spread and what came: 0 is perfect, and for a forecast without "
    "spread it is the absolute error. In standardised link units 1 is the spread (SD) of a channel's readings, after "
    "the logarithm where the study says so."
)
AHEAD = "Ahead: next is the reading to come, h3 the third one to come; with a unit it is the time until then."
GATES = {
    "abstention": "Does it err by more where it says that it is less sure?",
    "action": "Do treatments move the forecast, and do wrong ones forecast worse?",
    "belief": "Does it learn who a subject is, reading by reading, also from few and irregular ones?",
    "calibration": "Do the bands hold as often as they promise, neither less nor more?",
    "closure": "Is a forecast that is carried on step by step no worse than one long step, and among real readings?",
    "constraints": "Does it never say what cannot be: out of range, out of order, no number?",
    "observability": "Does every kind of reading help or not harm, and is the past of a subject used?",
    "skill": "Is it no worse than the last value and the best simple rule?",
    "state": "Can a simulation be cut, saved and taken up again unchanged?",
    "support": "Does it tell questions that its data do not cover from those that they do?",
    "time": "Is a forecast the same, however often it is looked at on the way?",
    "counterfactual": "Does it tell what schedules that nobody was given would do?",
    "context": "Does it hold at sites and in groups that it never met?",
    "overlap": "Were enough subjects treated like this to learn from?",
    "policy-rank": "Does it put ways of treating in the right order?",
    "exploit": "Does the schedule that it likes best bring what it promises?",
}
METRICS = {
    "crps": ("error of the whole forecast (CRPS)", "Lower is better."),
    "mae": ("error of the median", "Absolute, in standardised link units; lower is better."),
    "coverage90": ("inside the 90 % band of that time", "Share of readings; 0.90 is promised."),
    "joint90": ("inside the 90 % band all the way", "Share of whole paths up to that time; 0.90 is promised."),
    "interval_score": ("width of the 90 % band, with a penalty for misses", "Interval score; lower is better."),
    "pearson_delta": (
        "correlation of responses over genes",
        "Higher is better. The truth is measured from control cells that no prediction has seen.",
    ),
    "rmse_delta": ("error of responses over genes", "Mean log1p expression; lower is better."),
    "energy": ("distance of populations", "Energy distance of foretold to real cells, all genes; lower is better."),
}
