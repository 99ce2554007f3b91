"""A page for operators: what runs, waits and is cached, and what may be released or forgotten.

It is the same for all frameworks. Their modules call :class:`.page.OperatorPage`.
"""
