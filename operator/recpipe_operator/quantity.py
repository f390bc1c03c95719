"""Kubernetes quantities, as far as pipelines and the API server's answers have them."""

from decimal import Decimal, InvalidOperation

_UNITS = {"m": Decimal("0.001"), "": Decimal(1)}
_UNITS |= {unit: Decimal(10 ** (3 * n)) for n, unit in enumerate("kMGT", 1)}
_UNITS |= {f"{unit}i": Decimal(2 ** (10 * n)) for n, unit in enumerate("KMGT", 1)}


def parse(text: str) -> Decimal:
    """`500m` is 0.5, `1Gi` is 1073741824; raises ValueError for anything else."""
    unit = next(unit for unit in sorted(_UNITS, key=len, reverse=True) if text.endswith(unit))
    try:
        return Decimal(text.removesuffix(unit)) * _UNITS[unit]
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is not a quantity, such as 500m or 2Gi") from error


def mebibytes(text: str) -> int:
    return int(parse(text) / 2**20)
