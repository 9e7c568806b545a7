"""The user's side: sessions, from profile to verified, and what is shown of them."""
