"""What programs may ask over HTTP: the endpoints, their schemas, and answers about checkpoints."""
