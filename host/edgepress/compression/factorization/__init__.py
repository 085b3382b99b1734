"""Factorization: two small layers in place of a large one."""
