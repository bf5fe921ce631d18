#!/usr/bin/python3
"""An independent Llama in float64, written from the published formulas, against which the decoder is tested.

Usage: reference_llama.py CASES.json

CASES.json is a list of objects:
  model     model directory in Hugging Face layout
  tokens    token ids
  output    prefix of the files to write
  greedy    tokens to continue by (optional)
  context, kept   (optional) entries before position `context` that are in none of kept["LAYER,KV_HEAD"] are hidden from
                  the queries at `context` and later.

Written, as raw little-endian float32: OUTPUT.logits [tokens, vocab], and of every layer OUTPUT.queries
[layers, query_heads, tokens, head_dim] and OUTPUT.keys, OUTPUT.values [layers, kv_heads, tokens, head_dim],
post-RoPE; and OUTPUT.json {"continuation": [...]}.
"""

import glob
import json
import math
import os
import struct
import sys

import torch

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def read_weights(directory):
    weights = {}
    for path in glob.glob(os.path.join(directory, "*.safetensors")):
        with open(path, "rb") as file:
            data = file.read()
        (length,) = struct.unpack("<Q", data[:8])
        for name, entry in json.loads(data[8 : 8 + length]).items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            raw = bytearray(data[8 + length + begin : 8 + length + end])
            tensor = torch.frombuffer(raw, dtype=DTYPES[entry["dtype"]])
            weights[name] = tensor.reshape(entry["shape"]).double()
    return weights


def rms_norm(x, weight, eps):
    return x / torch.sqrt((x**2).mean(dim=-1, keepdim=True) + eps) * weight


def rotate(x, theta):
    """RoPE (Su et al., 2021) with halves paired: x [tokens, dim]; (x_i, x_{i + dim/2}) turns by p * theta^(-2i/dim)."""
    dim = x.shape[1]
    rows = x.tolist()
    for p, row in enumerate(rows):
        for i in range(dim // 2):
            angle = p * theta ** (-2.0 * i / dim)
            a, b = row[i], row[i + dim // 2]
            row[i] = a * math.cos(angle) - b * math.sin(angle)
            row[i + dim // 2] = b * math.cos(angle) + a * math.sin(angle)
    return torch.tensor(rows, dtype=torch.float64)


def visible(tokens, context, kept):
    mask = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    if kept is not None:
        hidden = torch.ones(context, dtype=torch.bool)
        hidden[torch.tensor(kept, dtype=torch.long)] = False
        mask[context:, :context] &= ~hidden
    return mask


def forward(config, weights, tokens, context=0, kept=None):
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads", heads)
    dim = config.get("head_dim", config["hidden_size"] // heads)
    eps = config["rms_norm_eps"]
    theta = config["rope_theta"]
    count = len(tokens)
    captured = {"queries": [], "keys": [], "values": []}
    x = weights["model.embed_tokens.weight"][torch.tensor(tokens)]
    for layer in range(config["num_hidden_layers"]):
        weight = lambda name: weights["model.layers.%d.%s.weight" % (layer, name)]
        normed = rms_norm(x, weight("input_layernorm"), eps)
        queries, keys, values = (
            (normed @ weight("self_attn.%s_proj" % name).T).reshape(count, -1, dim)
            for name in "qkv"
        )
        queries = [rotate(queries[:, h], theta) for h in range(heads)]
        keys = [rotate(keys[:, h], theta) for h in range(kv_heads)]
        captured["queries"] += queries
        captured["keys"] += keys
        captured["values"] += [values[:, h] for h in range(kv_heads)]
        outputs = []
        for h in range(heads):
            kv = h // (heads // kv_heads)
            scores = queries[h] @ keys[kv].T / math.sqrt(dim)
            keep = None if kept is None else kept.get("%d,%d" % (layer, kv))
            scores[~visible(count, context, keep)] = -math.inf
            outputs.append(torch.softmax(scores, dim=-1) @ values[:, kv])
        x = x + torch.cat(outputs, dim=-1) @ weight("self_attn.o_proj").T
        normed = rms_norm(x, weight("post_attention_layernorm"), eps)
        gate = normed @ weight("mlp.gate_proj").T
        gate = gate * torch.sigmoid(gate)
        x = x + (gate * (normed @ weight("mlp.up_proj").T)) @ weight("mlp.down_proj").T
    x = rms_norm(x, weights["model.norm.weight"], eps)
    tied = config.get("tie_word_embeddings", False)
    head = weights["model.embed_tokens.weight" if tied else "lm_head.weight"]
    return x @ head.T, captured


def write(path, tensor):
    with open(path, "wb") as file:
        values = tensor.float().flatten().tolist()
        file.write(struct.pack("<%df" % len(values), *values))


def main():
    torch.set_num_threads(1)
    with open(sys.argv[1]) as file:
        cases = json.load(file)
    for case in cases:
        with open(os.path.join(case["model"], "config.json")) as file:
            config = json.load(file)
        weights = read_weights(case["model"])
        tokens = case["tokens"]
        kept = case.get("kept")
        logits, captured = forward(config, weights, tokens, case.get("context", 0), kept)
        write(case["output"] + ".logits", logits)
        for name, tensors in captured.items():
            write(case["output"] + "." + name, torch.stack(tensors))
        continuation = []
        for _ in range(case.get("greedy", 0)):
            continuation.append(int(logits[-1].argmax()))
            logits, _ = forward(config, weights, tokens + continuation)
        with open(case["output"] + ".json", "w") as file:
            json.dump({"continuation": continuation}, file)


if __name__ == "__main__":
    main()
