"""The words every room shares, typed; no input or output happens here."""
