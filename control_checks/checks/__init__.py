"""One folder per check: check.py, query.sql, cases.yaml and a generated README.md."""
