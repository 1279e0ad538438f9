"""How fast the kernels and the engine are, beside other libraries on the same cores.

    python -m benchmarks matmul conv --threads 2

README.md tells how to read the tables and how to add a benchmark of your own (one file in cases/).
"""
