"""Flows and the command line: what a user runs, on top of ``pipeline`` and ``cluster``.

Read in this order: ``spec`` (what can be asked for), ``area`` and ``prepare`` (from a specification to a job), one flow a
file (``sharpen``), ``road`` (search, plan, run, one after the other), ``cli``.
"""
