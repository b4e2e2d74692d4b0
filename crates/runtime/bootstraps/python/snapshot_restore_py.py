"""Hooks of SnapStart, for functions that do not bring AWS's package of this name: the same names do the same.

Source: AWS Lambda developer guide, "Implement code before or after Lambda function snapshots".
"""

__all__ = ["register_before_snapshot", "register_after_restore"]

_BEFORE, _AFTER = [], []


def register_before_snapshot(func, *args, **kwargs):
    """Has `func` called before the snapshot, last registered first. Gives it back, so that it is a decorator, too."""
    _BEFORE.append((func, args, kwargs))
    return func


def register_after_restore(func, *args, **kwargs):
    """Has `func` called after the snapshot was restored, in order. Gives it back."""
    _AFTER.append((func, args, kwargs))
    return func


def get_before_snapshot():
    """The registered hooks with their arguments, for the runtime."""
    return _BEFORE


def get_after_restore():
    """The registered hooks with their arguments, for the runtime."""
    return _AFTER
