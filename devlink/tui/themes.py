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
    variables={
        "ok": "#2fc49b",
        "info": "#56B4E9",
        "warn": "#E69F00",
        "bad": "#ff7a45",
        "edge": "#5b6673",
        "text-muted": "#a3abb5",
        "block-cursor-background": "#17364b",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-blurred-background": "#20262e",
        "block-cursor-text-style": "bold",
    },
)
LIGHT = Theme(
    name="devlink-light",
    dark=False,
    primary="#0067a3",
    secondary="#56B4E9",
    accent="#9c3f75",
    background="#fdfdfb",
    surface="#f4f4f0",
    panel="#e9e9e4",
    foreground="#1b1b1b",
    success="#00694f",
    warning="#7a5000",
    error="#a83c00",
    variables={
        "ok": "#00694f",
        "info": "#005b8f",
        "warn": "#7a5000",
        "bad": "#a83c00",
        "edge": "#8c8c86",
        "text-muted": "#55554f",
        "block-cursor-background": "#cfe3f1",
        "block-cursor-foreground": "#000000",
        "block-cursor-blurred-background": "#e9e9e4",
        "block-cursor-text-style": "bold",
    },
)
