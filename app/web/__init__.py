"""The page: its tabs, what happens when their buttons are pressed, and how they look."""
