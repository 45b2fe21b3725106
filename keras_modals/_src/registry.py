"""Classes that are known by a name, those of users as ours."""


def add_class(classes, name, cls):
    """Adds a class to those known by name. One that is defined anew, as in a notebook,
    takes the old one's place; another one of the name is refused.

    Args:
        classes: Dict from name to class.
        name: The name.
        cls: The class.
    """
    known = classes.get(name, cls)
    if _place_of(known) != _place_of(cls):
        raise ValueError(
            f"There is a class of that name, `{_place_of(known)}`. Give "
            f"`{cls.__name__}` another one. Received: {name!r}"
        )
    classes[name] = cls


def _place_of(cls):
    return f"{cls.__module__}.{cls.__qualname__}"
