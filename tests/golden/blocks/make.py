"""Makes TYPE.bin: blocks of random bytes and what the `gguf` Python package decodes them to.

Needs `pip install gguf numpy`. Run in this folder: python3 make.py
Layout: N_BLOCKS blocks as stored, then their values as float32, little-endian.
"""
import numpy as np
from gguf import GGMLQuantizationType as T, GGML_QUANT_SIZES, quants

N_BLOCKS = 12
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
          "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ2_XXS": [0], "MXFP4": []}

for i, (name, halves) in enumerate(HALVES.items()):
    rng = np.random.default_rng(i)
    _, size = GGML_QUANT_SIZES[T[name]]
    blocks = rng.integers(0, 256, (N_BLOCKS, size), dtype=np.uint8)
    for at in halves:  # finite scales
        blocks[:, at + 1] = blocks[:, at + 1] & 0x80 | rng.integers(0, 0x7C, N_BLOCKS, dtype=np.uint8)
    if name == "MXFP4":
        blocks[:, 0] = rng.integers(1, 250, N_BLOCKS, dtype=np.uint8)
    values = quants.dequantize(blocks.reshape(1, -1), T[name]).astype("<f4")
    with open(f"{name}.bin", "wb") as file:
        file.write(blocks.tobytes() + values.tobytes())
