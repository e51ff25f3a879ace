"""Fusion models: what each declares (``declaration``), which there are (``registry``), how they are built (the rest).

Declarations import no torch: a plan, a refusal or a resumed run that has nothing left to do never loads it.
"""
