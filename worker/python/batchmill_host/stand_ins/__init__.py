"""Small replacements for packages that Azure's images have and other environments lack, so that scripts that import them run.

They exist only where the real package does not, and only for user code: a library that looks whether one of these packages
is installed finds none.
"""
