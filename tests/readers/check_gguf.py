"""Compares a GGUF file as the public reader sees it with what dsv4 read from it.

Usage: check_gguf.py FILE.gguf REFERENCE.safetensors [--config config.json] [--types NAME,...]

REFERENCE has every tensor as float32 under its GGUF name (tests/readers/dump_f32). Values must be
equal. Of the metadata, what a reader of "deepseek4" needs must be there with its
type and agree with the tensors, and with config.json where one is given. --types: at least one
tensor must be stored in each of these.
"""

import argparse
import json
import sys

import gguf
import numpy as np
from gguf import GGUFValueType as T
from safetensors.numpy import load_file

# Key (behind "deepseek4.") -> type, member of config.json.
KEYS = {
    "block_count": (T.UINT32, "num_hidden_layers"),
    "context_length": (T.UINT32, "max_position_embeddings"),
    "embedding_length": (T.UINT32, "hidden_size"),
    "vocab_size": (T.UINT32, "vocab_size"),
    "attention.head_count": (T.UINT32, "num_attention_heads"),
    "attention.head_count_kv": (T.UINT32, 1),
    "attention.key_length": (T.UINT32, "head_dim"),
    "attention.value_length": (T.UINT32, "head_dim"),
    "attention.q_lora_rank": (T.UINT32, "q_lora_rank"),
    "attention.output_lora_rank": (T.UINT32, "o_lora_rank"),
    "attention.output_group_count": (T.UINT32, "o_groups"),
    "attention.layer_norm_rms_epsilon": (T.FLOAT32, "rms_norm_eps"),
    "attention.sliding_window": (T.UINT32, "sliding_window"),
    "attention.compress_rope_freq_base": (T.FLOAT32, "compress_rope_theta"),
    "attention.indexer.head_count": (T.UINT32, "index_n_heads"),
    "attention.indexer.key_length": (T.UINT32, "index_head_dim"),
    "attention.indexer.top_k": (T.UINT32, "index_topk"),
    "rope.dimension_count": (T.UINT32, "qk_rope_head_dim"),
    "rope.freq_base": (T.FLOAT32, "rope_theta"),
    "rope.scaling.type": (T.STRING, "yarn"),
    "rope.scaling.factor": (T.FLOAT32, "rope_scaling.factor"),
    "rope.scaling.original_context_length":
        (T.UINT32, "rope_scaling.original_max_position_embeddings"),
    "rope.scaling.yarn_beta_fast": (T.FLOAT32, "rope_scaling.beta_fast"),
    "rope.scaling.yarn_beta_slow": (T.FLOAT32, "rope_scaling.beta_slow"),
    "expert_count": (T.UINT32, "n_routed_experts"),
    "expert_used_count": (T.UINT32, "num_experts_per_tok"),
    "expert_shared_count": (T.UINT32, 1),
    "expert_feed_forward_length": (T.UINT32, "moe_intermediate_size"),
    "expert_weights_scale": (T.FLOAT32, "routed_scaling_factor"),
    "expert_weights_norm": (T.BOOL, True),
    "expert_gating_func": (T.UINT32, 4),
    "hash_layer_count": (T.UINT32, "num_hash_layers"),
    "hyper_connection.count": (T.UINT32, "hc_mult"),
    "hyper_connection.sinkhorn_iterations": (T.UINT32, "hc_sinkhorn_iters"),
    "hyper_connection.epsilon": (T.FLOAT32, "hc_eps"),
}

problems = []


def check(condition, message):
    if not condition:
        problems.append(message)


def member(config, path):
    for part in path.split("."):
        config = config[part]
    return config


def check_value(reader, name, kind, expected):
    field = reader.get_field(name)
    if field is None:
        problems.append(f"key {name} is missing")
        return None
    check(field.types[0] == kind, f"key {name} has type {field.types[0].name}, not {kind.name}")
    value = field.contents()
    if expected is not None:
        if kind == T.FLOAT32:
            expected = float(np.float32(expected))
        check(value == expected, f"key {name} is {value}, expected {expected}")
    return value


def check_metadata(reader, config):
    check_value(reader, "general.architecture", T.STRING, "deepseek4")
    values = {}
    for key, (kind, source) in KEYS.items():
        expected = source
        if isinstance(source, str) and source != "yarn":
            expected = member(config, source) if config else None
        values[key] = check_value(reader, "deepseek4." + key, kind, expected)
    n_layers = values["block_count"] or 0
    for key, kind, expected in [
        ("attention.compress_ratios", T.INT32, config and config["compress_ratios"][:n_layers]),
        ("swiglu_clamp_exp", T.FLOAT32, config and [config["swiglu_limit"]] * n_layers)]:
        value = check_value(reader, "deepseek4." + key, T.ARRAY, None)
        field = reader.get_field("deepseek4." + key)
        if field is None:
            continue
        check(field.types[1] == kind, f"key deepseek4.{key} has elements of {field.types[1].name}")
        check(len(value) >= n_layers, f"key deepseek4.{key} has {len(value)} elements")
        if expected is not None:
            check(list(value[:n_layers]) == [np.float32(x) if kind == T.FLOAT32 else x
                                             for x in expected], f"key deepseek4.{key}: {value}")
    return values


def check_tokenizer(reader, vocab_size):
    if reader.get_field("tokenizer.ggml.model") is None:
        return
    check_value(reader, "tokenizer.ggml.model", T.STRING, "gpt2")
    check_value(reader, "tokenizer.ggml.bos_token_id", T.UINT32, None)
    check_value(reader, "tokenizer.ggml.eos_token_id", T.UINT32, None)
    tokens = check_value(reader, "tokenizer.ggml.tokens", T.ARRAY, None) or []
    types = check_value(reader, "tokenizer.ggml.token_type", T.ARRAY, None) or []
    check_value(reader, "tokenizer.ggml.merges", T.ARRAY, None)
    check(len(tokens) == vocab_size, f"{len(tokens)} tokens for a vocabulary of {vocab_size}")
    check(len(types) == len(tokens), f"{len(types)} token types for {len(tokens)} tokens")
    check(len(set(tokens)) == len(tokens), "tokens occur twice")
    check(set(types) <= {1, 2, 3, 4, 5, 6}, f"token types {set(types)}")


def check_shapes(reader, values):
    shapes = {tensor.name: [int(n) for n in tensor.shape] for tensor in reader.tensors}
    d, experts = values["embedding_length"], values["expert_count"]
    width = values["expert_feed_forward_length"]
    expected = {"token_embd.weight": [d, values["vocab_size"]],
                "output.weight": [d, values["vocab_size"]],
                "output_norm.weight": [d],
                "blk.0.attn_q_a.weight": [d, values["attention.q_lora_rank"]],
                "blk.0.ffn_gate_exps.weight": [d, width, experts],
                "blk.0.ffn_up_exps.weight": [d, width, experts],
                "blk.0.ffn_down_exps.weight": [width, d, experts]}
    for name, shape in expected.items():
        check(shapes.get(name) == shape, f"tensor {name} is {shapes.get(name)}, expected {shape}")


def check_tensors(reader, reference):
    names = {tensor.name for tensor in reader.tensors}
    check(names == set(reference),
          f"tensors on one side only: {sorted(names ^ set(reference))[:5]}")
    for tensor in reader.tensors:
        if tensor.name not in reference:
            continue
        check(tensor.data_offset % reader.alignment == 0, f"tensor {tensor.name} is not aligned")
        ours = reference[tensor.name]
        values = tensor.data
        if ours.dtype == np.float32:
            values = gguf.quants.dequantize(values, tensor.tensor_type)
        values = np.asarray(values).reshape(ours.shape)
        check(list(ours.shape) == [int(n) for n in tensor.shape][::-1],
              f"tensor {tensor.name} has shape {ours.shape} here, {tensor.shape} in the file")
        check(values.dtype == ours.dtype, f"tensor {tensor.name}: {values.dtype} and {ours.dtype}")
        differ = np.flatnonzero(np.ravel(values) != np.ravel(ours))
        check(differ.size == 0,
              f"tensor {tensor.name} ({tensor.tensor_type.name}) differs in {differ.size} values, "
              f"first at {differ[:1]}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("reference")
    parser.add_argument("--config")
    parser.add_argument("--types", default="")
    args = parser.parse_args()
    config = json.load(open(args.config)) if args.config else None
    reader = gguf.GGUFReader(args.file)
    values = check_metadata(reader, config)
    if not problems:
        check_tokenizer(reader, values["vocab_size"])
        check_shapes(reader, values)
    check_tensors(reader, load_file(args.reference))
    stored = {tensor.tensor_type.name for tensor in reader.tensors}
    for name in filter(None, args.types.split(",")):
        check(name in stored, f"no tensor is of type {name}, only {sorted(stored)}")
    for problem in problems[:20]:
        print(f"{args.file}: {problem}", file=sys.stderr)
    if not problems:
        print(f"{args.file}: {len(reader.tensors)} tensors equal ({', '.join(sorted(stored))})")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
