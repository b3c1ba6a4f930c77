"""Pictures and pages that show what masks do."""
