"""What the ingest doors promise, over real sockets."""
