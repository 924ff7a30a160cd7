"""The providers' side for local use.

Speaks Twilio's, SendGrid's and FCM's HTTP as their official clients expect, plus the call-centre
protocol; calls back with signed webhooks; shows a page with a phone and a mailbox per customer.
A service of its own: the product never imports it, and it imports nothing of the product.
"""
