"""What stands around the page: turns of many visitors, who reads which answer, and one line for every error."""
