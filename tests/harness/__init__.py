"""What integration and conformance tests stand on: scratch daemons, a CRI client, and the proof that nothing is left."""
