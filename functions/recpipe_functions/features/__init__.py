"""Features: the user's live state, and one enriched row per clean event."""
