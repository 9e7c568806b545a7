"""What the dashboard says, and how it is drawn in text. PURE, and without Textual."""
