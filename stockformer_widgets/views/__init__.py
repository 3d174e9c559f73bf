"""Views. Each draws a session and a selection and does not know the others."""
