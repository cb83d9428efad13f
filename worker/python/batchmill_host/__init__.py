"""The Python scoring host: runs a user's init() and run(mini_batch) and speaks docs/host-protocol.md.

Python 3.8 or later, standard library only. Nothing here imports pandas or numpy: their objects are recognised
through sys.modules, where they are when user code has made one.
"""
