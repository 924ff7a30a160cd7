"""Plays a log of what customers did through the HTTP API, and reconciles what came of it."""
