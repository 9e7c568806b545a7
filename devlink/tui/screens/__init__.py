"""The main screen, and what is asked or told above it. A screen knows no socket."""
