"""Words that sentences are made of."""


def counted(number: int, noun: str) -> str:
    """Count things in words: `1 record`, `2,000 records`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
