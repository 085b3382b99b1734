"""The command line: one module per noun, no logic. Errors become text and an exit code here, nowhere else."""
