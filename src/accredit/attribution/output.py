"""What an evaluation returns for a coalition: declared by name, unit and direction before anything is evaluated."""

from __future__ import annotations

from dataclasses import dataclass

from accredit.errors import InvalidArgument


@dataclass(frozen=True)
class Output:
    """One quantity that the value function returns for every coalition.

    Example:
        >>> Output("loss", "nat", False).direction
        -1.0
    """

    name: str
    """Key of the mapping that the value function returns."""
    unit: str
    """Unit of the raw values, such as "nat" or "fraction"; every table and axis carries it."""
    higher_is_better: bool
    """Direction: decides the sign of a contribution, never the raw value."""

    def __post_init__(self) -> None:
        """Refuse an output without a name."""
        if not self.name:
            raise InvalidArgument(
                f"`name` of an output is {self.name!r}, wanted a text that is not empty; "
                "pass the key under which the value function returns it."
            )

    @property
    def direction(self) -> float:
        """1.0 where higher is better, -1.0 where lower is: contribution = direction * value."""
        return 1.0 if self.higher_is_better else -1.0
