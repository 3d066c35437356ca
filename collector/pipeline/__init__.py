"""From records to committed facts: map, dedupe, correlate, fold, commit."""
