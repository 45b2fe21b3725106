"""Registry of classes by name, for built-in and user-defined classes."""


def add_class(classes, name, cls):
    """Adds a class to those known by name.

    A class that is defined again, as in a notebook, replaces the old one. A different
    class with the same name raises a `ValueError`.

    Args:
        classes: Dict from name to class.
        name: The name.
        cls: The class.
    """
    known = classes.get(name, cls)
    if _place_of(known) != _place_of(cls):
        raise ValueError(
            f"The name is already taken by the class `{_place_of(known)}`. Give "
            f"`{cls.__name__}` another name. Received: {name!r}"
        )
    classes[name] = cls


def _place_of(cls):
    return f"{cls.__module__}.{cls.__qualname__}"
