"""Adapters of our own arms; workers load them as files, by path."""
