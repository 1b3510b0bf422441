"""Analysis of stored results: `compare` of cases or runs, `gate` for CI, and the verdicts as Markdown and JUnit XML."""
