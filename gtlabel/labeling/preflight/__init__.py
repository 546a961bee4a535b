"""What must be true before workers are shown pictures, and how to make it so.

A labeling job that lacks something is created all the same, and fails minutes or days later. `check` looks
first, at everything at once; `refuse` turns what it found into an error.
"""

from gtlabel.labeling.preflight.cors import CORS_RULE, let_browsers_in
from gtlabel.labeling.preflight.findings import Finding, Level
from gtlabel.labeling.preflight.run import check, refuse
from gtlabel.labeling.preflight.subject import Subject

__all__ = ["CORS_RULE", "Finding", "Level", "Subject", "check", "let_browsers_in", "refuse"]
