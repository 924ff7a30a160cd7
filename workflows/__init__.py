"""Journeys: one file each, by business pack."""
