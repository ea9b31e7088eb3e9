"""Compares a checkpoint as the public safetensors reader sees it with what dsv4 decodes from it.

Usage: check_safetensors.py FOLDER REFERENCE.safetensors --types NAME,...

REFERENCE has every weight as float32 under its released name (tests/readers/dump_weights). Here each
is decoded by the definition of its type (docs/formats.md); values must be equal. --types: at least
one weight must be stored in each of these.
"""

import argparse
import json
import pathlib
import sys

import numpy as np
from safetensors import safe_open

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]  # nibble i is output 8 w + AWQ_ORDER[i]
DTYPES = {"F32": np.float32, "F16": np.float16, "I8": np.uint8, "I32": np.uint32, "I64": np.int64,
          "BF16": np.uint16, "F8_E4M3": np.uint8, "F8_E8M0": np.uint8}


def e4m3_table():
    codes = np.arange(256)
    exponent, mantissa = codes >> 3 & 15, codes & 7
    value = np.where(exponent == 0, mantissa * 2.0 ** -9, (1 + mantissa / 8) * 2.0 ** (exponent - 7))
    value[(codes & 127) == 127] = np.nan
    return np.where(codes >> 7, -value, value).astype(np.float32)


E4M3 = e4m3_table()


def read(folder):
    """Raw numbers of all tensors, by the index, with their types."""
    index = json.load(open(folder / "model.safetensors.index.json"))
    tensors, total = {}, 0
    for shard in sorted(set(index["weight_map"].values())):
        raw = (folder / shard).read_bytes()
        header_bytes = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8:8 + header_bytes])
        with safe_open(folder / shard, framework="numpy") as file:
            names = set(file.keys())
            assert names == {n for n, s in index["weight_map"].items() if s == shard}, shard
            for name in names:
                part = file.get_slice(name)
                dtype, shape = part.get_dtype(), part.get_shape()
                begin, end = header[name]["data_offsets"]
                data = np.frombuffer(raw, np.uint8)[8 + header_bytes + begin:8 + header_bytes + end]
                tensors[name] = (dtype, data.view(DTYPES[dtype]).reshape(shape))
                if dtype in ("F32", "F16", "I32", "I64"):
                    same = np.array_equal(file.get_tensor(name).view(DTYPES[dtype]),
                                          tensors[name][1], equal_nan=dtype[0] == "F")
                    assert same, f"{name}: the reader sees other bytes"
                total += data.size
    assert index["metadata"]["total_size"] == total, "total_size"
    return tensors


def nibbles(words):
    return np.stack([words >> (4 * i) & 15 for i in range(8)], axis=-1).astype(np.int32)


def awq(tensors, stem):
    codes, zeros = (nibbles(tensors[stem + part][1])[..., np.argsort(AWQ_ORDER)]
                    for part in ("qweight", "qzeros"))
    scales = tensors[stem + "scales"][1].astype(np.float32)
    codes, zeros = (x.reshape(x.shape[0], -1) for x in (codes, zeros))
    group = codes.shape[0] // scales.shape[0]
    spread = lambda x: np.repeat(x, group, axis=0)
    return ((codes - spread(zeros)).astype(np.float32) * spread(scales)).T


def scaled(values, scales):
    factor = np.ldexp(np.float32(1), scales.astype(np.int32) - 127)
    if values.shape[1] // scales.shape[1] == 32 and scales.shape[0] == values.shape[0]:
        return values * np.repeat(factor, 32, axis=1)
    spread = np.repeat(np.repeat(factor, 128, axis=0), 128, axis=1)
    return values * spread[:values.shape[0], :values.shape[1]]


def decode(tensors, name):
    """A weight in float32, and what it is stored in."""
    stem = name[:-len("weight")]
    if stem + "qweight" in tensors:
        return awq(tensors, stem), "INT4"
    dtype, raw = tensors[name]
    if dtype == "I8":
        codes = np.stack([raw & 15, raw >> 4], axis=-1).reshape(raw.shape[0], -1)
        return scaled(E2M1[codes], tensors[stem + "scale"][1]), "FP4"
    if dtype == "F8_E4M3":
        return scaled(E4M3[raw], tensors[stem + "scale"][1]), "FP8"
    if dtype == "BF16":
        return (raw.astype(np.uint32) << 16).view(np.float32), "BF16"
    return raw.astype(np.float32), dtype


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("reference")
    parser.add_argument("--types", default="")
    args = parser.parse_args()
    tensors = read(args.folder)
    problems, stored = [], set()
    with safe_open(args.reference, framework="numpy") as reference:
        for name in reference.keys():
            ours = reference.get_tensor(name)
            values, kind = decode(tensors, name)
            stored.add(kind)
            if values.shape != ours.shape or not np.array_equal(values, ours):
                problems.append(f"tensor {name} ({kind}) differs")
        count = len(reference.keys())
    for name in filter(None, args.types.split(",")):
        if name not in stored:
            problems.append(f"no weight is stored in {name}, only {sorted(stored)}")
    for problem in problems[:20]:
        print(f"{args.folder}: {problem}", file=sys.stderr)
    if not problems:
        print(f"{args.folder}: {count} weights equal ({', '.join(sorted(stored))})")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
