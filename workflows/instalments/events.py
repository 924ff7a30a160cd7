"""What a lender at the till tells us about its customers."""

from domain.events import Event


class CustomerRegistered(Event, name="customer_registered"):
    """The customer has a limit and may buy in instalments."""


class FirstPurchaseMade(Event, name="first_purchase_made"):
    """The customer bought something in instalments for the first time."""


class AccountOpened(Event, name="account_opened"):
    """The customer opened their account, on the web or in the app (property `limit_left`, in money)."""


class PurchaseMade(Event, name="purchase_made"):
    """The customer bought something."""
