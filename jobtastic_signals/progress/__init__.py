"""Progress: what a run reports while it goes on, and how long it will take."""
