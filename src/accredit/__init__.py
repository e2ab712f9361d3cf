"""Accredit."""
