"""Clean and features: what is true of an event, and what it says of its user."""
