"""What is known of each exchange: bytes to records, requests, capabilities."""
