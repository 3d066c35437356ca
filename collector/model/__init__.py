"""The finance facts and their names: pure, frozen, without a database or a clock."""
