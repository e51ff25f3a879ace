"""What makes images of several sensors comparable, each a step of its own that a specification may switch on.

``bandpass`` (the bands of one sensor as another would see them), ``nbar`` (reflectance as seen from above), ``coregister``
(how far an image lies from another), ``places`` (what is kept of that), ``steps`` (which of them are on, applied to a
scene).
"""
