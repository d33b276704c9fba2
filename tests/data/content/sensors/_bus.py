"""What the two meters share."""


def nothing():
    return "unsupported", "no meter is attached"
