"""Files, archives and URLs to token ids: what the `prepare_*` scripts share."""
