"""What looks inside of results and models: pure computation, which the page, endpoints and commands show."""
