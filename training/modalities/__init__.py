"""What training needs to know about each kind of data: how to write samples, and how to augment."""
