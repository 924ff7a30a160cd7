"""What a torture cannot do where it runs."""


class NotPossibleHere(Exception):
    """This machine or user does not permit a fault; the message says why, in words for the report."""
