"""Progress for people who wait: task_status, one module for each web framework, and a custom element.

No framework is imported before its module is.
"""
