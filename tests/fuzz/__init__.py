"""Hostile bytes: whatever comes in, only ProtocolError comes out."""
