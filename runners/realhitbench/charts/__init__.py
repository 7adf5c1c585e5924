"""Visualization answers: programs that a model wrote, run in a sandbox of their own and scored by what they drew.

`guest` runs inside the sandbox and imports nothing of this package; `walls` builds the sandbox, `watching` minds one
run, `sandbox` puts these together; `metrics` scores one prediction; `scorer` scores those of results, on the Python
that `environment` finds, with what `remembered` has of earlier calls; `check` compares with stored scores.
"""
