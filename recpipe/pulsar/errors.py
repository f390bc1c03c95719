"""What Pulsar's admin REST can answer instead of success."""


class AdminError(Exception):
    """A request that failed. `reason` is the broker's own words; `status` is 0 where it gave no answer."""

    def __init__(self, request: str, status: int, reason: str) -> None:
        self.request, self.status, self.reason = request, status, reason
        super().__init__(f"{request}: {status or 'no answer'}: {reason}")


class NotFoundError(AdminError):
    """There is no such tenant, namespace, topic, schema, subscription or function."""


class ConflictError(AdminError):
    """It exists already, or something in use stands in the way."""


class UnauthorizedError(AdminError):
    """The credentials are missing, wrong, or do not allow it."""


class RefusedError(AdminError):
    """The request makes no sense to the broker; the same request will be refused again."""


class IncompatibleSchemaError(RefusedError):
    """The schema cannot be read together with the topic's earlier ones."""


class UnavailableError(AdminError):
    """No broker could answer in time; the request may have been carried out."""
