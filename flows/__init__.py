"""Flows and the command line: what a user runs, on top of ``pipeline`` and ``cluster``.

Read in this order: ``strict`` (specifications in general), ``spec`` (what a run can be asked for), ``area`` (where that is),
one flow a file (``sharpen``), ``prepare`` (from a specification to a job), ``adapting`` (networks taught the scenes of a
run), ``road`` (plan, run, conclude); beside the road ``teach`` (training) and ``evaluate`` with its ``tables``; then
``terminal``, the commands of ``stores`` and ``networks``, and ``cli``.
"""
