"""What the dashboard shows. A widget is given records and posts messages; it knows no socket."""
