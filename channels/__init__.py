"""The providers, one file each behind one protocol, see `channels.protocol`."""
