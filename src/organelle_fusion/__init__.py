"""Organelle-based classification of cancer cells by data fusion: an executable reproduction.

Importing the package is cheap: Keras is imported by the functions that need it.
"""

from importlib.metadata import version

__version__ = version("organelle-fusion")
