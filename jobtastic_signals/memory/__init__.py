"""Memory: warnings about runs that leave their process larger than it was."""
