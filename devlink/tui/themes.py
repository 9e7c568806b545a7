"""Light and dark, in colours that people with any colour vision tell apart (Okabe and Ito, Color Universal Design)."""

from textual.theme import Theme

MARKS = {"ok": "✓", "info": "·", "warning": "!", "error": "✗", "skipped": "-", "follows": "-", "busy": "…", "off": "○"}
"""The sign of each tone: a colour never says anything alone."""

DARK = Theme(
    name="devlink-dark",
    dark=True,
    primary="#56B4E9",
    secondary="#0072B2",
    accent="#CC79A7",
    background="#111418",
    surface="#181c22",
    panel="#20262e",
    foreground="#e6e6e6",
    success="#2fc49b",
    warning="#E69F00",
    error="#ff7a45",
    variables={"ok": "#2fc49b", "info": "#56B4E9", "warn": "#E69F00", "bad": "#ff7a45"},
)
LIGHT = Theme(
    name="devlink-light",
    dark=False,
    primary="#0072B2",
    secondary="#56B4E9",
    accent="#9c3f75",
    background="#fdfdfb",
    surface="#f4f4f0",
    panel="#e9e9e4",
    foreground="#1b1b1b",
    success="#00694f",
    warning="#8a5a00",
    error="#a83c00",
    variables={"ok": "#00694f", "info": "#005b8f", "warn": "#8a5a00", "bad": "#a83c00"},
)
