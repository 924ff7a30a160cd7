"""Dealer group: visits, what comes after them, deals, and bots in the chat."""
