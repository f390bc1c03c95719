"""The edge: admission of events, and recommendations."""
