"""Lender at the till: the first purchase in instalments, and the limit that is left."""
