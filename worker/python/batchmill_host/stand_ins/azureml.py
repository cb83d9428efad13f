"""`azureml` itself: a name space with nothing in it."""

__all__ = ()
