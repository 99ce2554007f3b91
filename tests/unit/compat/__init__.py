"""Code that was written for other libraries."""
