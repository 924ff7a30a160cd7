"""Segments: the declarative form, what of it is SQL in the code, and how both become conditions of PostgreSQL."""
