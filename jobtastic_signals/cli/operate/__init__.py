"""What operators see and change: what runs, waits and is cached."""
