"""Flows and the command line: what a user runs, on top of ``pipeline`` and ``cluster``.

Read in this order: ``spec`` (what can be asked for), ``area`` (where that is), one flow a file (``sharpen``), ``prepare``
(from a specification to a job), ``road`` (plan, run, conclude), ``cli``.
"""
