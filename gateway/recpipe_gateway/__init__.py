"""The edge of a pipeline: events in, recommendations out, over HTTP and WebSocket."""
