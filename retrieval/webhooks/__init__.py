"""Telling other programs what became of pictures: an outbox, addresses, signed deliveries."""
