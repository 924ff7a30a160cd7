"""Journeys as pictures: rehearsed by their own code, told as one story with forks, drawn."""
