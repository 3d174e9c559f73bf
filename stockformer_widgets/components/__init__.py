"""Building blocks of views; none of them knows a view."""
