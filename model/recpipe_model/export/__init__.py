"""A hybrid as a SavedModel: the whole of its scoring as one graph, verified before it is published."""

from recpipe_model.export.publish import ExportError, export

__all__ = ["ExportError", "export"]
