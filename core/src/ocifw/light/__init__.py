"""Stand-ins for modules of the standard library that are slow to import. The image uses them: see `image.py`.

`import os` takes 1.5 ms, as long as all of ocifw together: `os` is written in Python, and makes 25 abstract base classes
only to say that `os.environ` is a mapping. Sources say `import os` as everywhere; in the image, that is `light.os`.
"""
