"""The bridge (FIC-01): what was approved is posted, on its way, not owed, or reported; else unexplained."""
