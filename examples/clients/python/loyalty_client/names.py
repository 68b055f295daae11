"""Names of enum values."""


def name_of(values, value, prefix):
    """Such as name_of(ListedOffer.State, state, "STATE_"). A newer service may give values that this client was not generated with: they are shown as
    numbers, and end nothing."""
    try:
        return values.Name(value).removeprefix(prefix)
    except ValueError:
        return f"not known here: {value}"
