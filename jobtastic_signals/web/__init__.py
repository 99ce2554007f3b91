"""Progress in a browser: endpoints for the status of a task, and a custom element that shows it.

There is one module for each web framework. A framework is imported only by its own module.
"""
