"""One thread in every test process: tensors here are small, and processes that compete for cores lose much."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
