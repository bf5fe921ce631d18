#!/usr/bin/python3
"""An independent decoder in float64, written from the published formulas, against which the C++ one is tested.

It knows Llama, Mistral, Qwen2, Qwen3 and Phi-3.

Usage: reference_decoder.py CASES.json

CASES.json is a list of objects:
  model     model directory in Hugging Face layout
  tokens    token ids
  output    prefix of the files to write
  greedy    tokens to continue by (optional)
  max_model_len   (optional) the longest sequence that is to come, which decides longrope's factors; else the model's
            original length, so that they are the short ones
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


def rope_settings(config):
    """The scaling's own fields, joined with what older files keep outside of it."""
    rope = dict(config.get("rope_scaling") or config.get("rope_parameters") or {})
    for name in ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings"):
        if config.get(name) is not None:
            rope.setdefault(name, config[name])
    rope["kind"] = rope.get("rope_type") or rope.get("type") or "default"
    return rope


def rotary(config, dim, longest):
    """Angular frequencies of the rotated pairs, and the factor of cosines and sines, for sequences of up to `longest`."""
    rope = rope_settings(config)
    theta = rope.get("rope_theta", 10000.0)
    rotated = int(dim * rope.get("partial_rotary_factor", 1.0))
    plain = [theta ** (-2.0 * i / rotated) for i in range(rotated // 2)]
    kind = rope["kind"]
    if kind == "default":
        return plain, 1.0
    if kind == "linear":  # Chen et al., 2023: positions shrink by the factor
        return [f / rope["factor"] for f in plain], 1.0
    original = rope.get("original_max_position_embeddings", config["max_position_embeddings"])
    if kind == "llama3":
        # Llama 3.1: turns over the original length: fewer than low_freq_factor are slowed down by the factor, more than
        # high_freq_factor kept, a straight line between.
        result = []
        for f in plain:
            turns = original * f / (2 * math.pi)
            low, high = rope["low_freq_factor"], rope["high_freq_factor"]
            kept = min(max((turns - low) / (high - low), 0.0), 1.0)
            result.append(kept * f + (1 - kept) * f / rope["factor"])
        return result, 1.0
    if kind == "yarn":
        # Peng et al., 2023, sections 3.2 to 3.4; the ramp is over dimensions, as their code has it.
        def dimension(turns):
            return rotated * math.log(original / (2 * math.pi * turns)) / (2 * math.log(theta))

        begin, end = dimension(rope.get("beta_fast", 32)), dimension(rope.get("beta_slow", 1))
        if rope.get("truncate", True):
            begin, end = math.floor(begin), math.ceil(end)
        begin, end = max(begin, 0), min(end, rotated - 1)
        result = []
        for i, f in enumerate(plain):
            slowed = min(max((i - begin) / (end - begin), 0.0), 1.0)
            result.append(slowed * f / rope["factor"] + (1 - slowed) * f)
        return result, rope.get("attention_factor", 0.1 * math.log(rope["factor"]) + 1)
    assert kind in ("longrope", "su"), kind
    # Ding et al., 2024, as Phi-3 has it.
    factors = rope["long_factor" if longest > original else "short_factor"]
    extension = config["max_position_embeddings"] / original
    temperature = math.sqrt(1 + math.log(extension) / math.log(original)) if extension > 1 else 1.0
    return [f / factor for f, factor in zip(plain, factors)], rope.get("attention_factor", temperature)


def rotate(x, frequencies, amplitude):
    """RoPE (Su et al., 2021) with halves paired: x [tokens, dim]; of its first 2n numbers (x_i, x_{i + n}) turns by p f_i."""
    n = len(frequencies)
    rows = x.tolist()
    for p, row in enumerate(rows):
        for i, frequency in enumerate(frequencies):
            angle = p * frequency
            a, b = row[i], row[i + n]
            row[i] = amplitude * (a * math.cos(angle) - b * math.sin(angle))
            row[i + n] = amplitude * (b * math.cos(angle) + a * math.sin(angle))
    return torch.tensor(rows, dtype=torch.float64)


def window_of(config, layer):
    """How many entries a query of this layer sees, itself included; None for all."""
    family = config["architectures"][0]
    if family in ("MistralForCausalLM", "Phi3ForCausalLM"):
        return config.get("sliding_window")
    if family in ("Qwen2ForCausalLM", "Qwen3ForCausalLM") and config["use_sliding_window"]:
        if "layer_types" in config:
            sliding = config["layer_types"][layer] == "sliding_attention"
        else:
            sliding = layer >= config["max_window_layers"]
        return config["sliding_window"] if sliding else None
    return None


def visible(tokens, window, context, kept):
    mask = torch.zeros(tokens, tokens, dtype=torch.bool)
    for query in range(tokens):
        for entry in range(query + 1):
            mask[query, entry] = window is None or query - entry < window
    if kept is not None:
        hidden = torch.ones(context, dtype=torch.bool)
        hidden[torch.tensor(kept, dtype=torch.long)] = False
        mask[context:, :context] &= ~hidden
    return mask


class Layer:
    def __init__(self, weights, index):
        self.weights = weights
        self.prefix = "model.layers.%d." % index

    def has(self, module):
        return self.prefix + module + ".weight" in self.weights

    def norm(self, x, module, eps):
        return rms_norm(x, self.weights[self.prefix + module + ".weight"], eps)

    def linear(self, x, module):
        y = x @ self.weights[self.prefix + module + ".weight"].T
        bias = self.weights.get(self.prefix + module + ".bias")
        return y if bias is None else y + bias

    def parts(self, x, fused, modules, sizes):
        """The projections of x, from one fused tensor where the file has it."""
        if self.has(fused):
            return self.linear(x, fused).split(sizes, dim=-1)
        return [self.linear(x, module) for module in modules]


def attention_weights(query, key, mask):
    scores = query @ key.T / math.sqrt(query.shape[1])
    scores[~mask] = -math.inf
    return torch.softmax(scores, dim=-1)


def forward(config, weights, tokens, longest, context=0, kept=None):
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads", heads)
    dim = config.get("head_dim", config["hidden_size"] // heads)
    eps = config["rms_norm_eps"]
    frequencies, amplitude = rotary(config, dim, longest)
    count = len(tokens)
    captured = {"queries": [], "keys": [], "values": []}
    x = weights["model.embed_tokens.weight"][torch.tensor(tokens)]
    for index in range(config["num_hidden_layers"]):
        layer = Layer(weights, index)
        normed = layer.norm(x, "input_layernorm", eps)
        queries, keys, values = (
            part.reshape(count, -1, dim)
            for part in layer.parts(
                normed,
                "self_attn.qkv_proj",
                ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
                [heads * dim, kv_heads * dim, kv_heads * dim],
            )
        )
        if layer.has("self_attn.q_norm"):
            queries = layer.norm(queries, "self_attn.q_norm", eps)
            keys = layer.norm(keys, "self_attn.k_norm", eps)
        queries = [rotate(queries[:, h], frequencies, amplitude) for h in range(heads)]
        keys = [rotate(keys[:, h], frequencies, amplitude) for h in range(kv_heads)]
        captured["queries"] += queries
        captured["keys"] += keys
        captured["values"] += [values[:, h] for h in range(kv_heads)]
        outputs = []
        for h in range(heads):
            kv = h // (heads // kv_heads)
            keep = None if kept is None else kept.get("%d,%d" % (index, kv))
            mask = visible(count, window_of(config, index), context, keep)
            outputs.append(attention_weights(queries[h], keys[kv], mask) @ values[:, kv])
        x = x + layer.linear(torch.cat(outputs, dim=-1), "self_attn.o_proj")
        normed = layer.norm(x, "post_attention_layernorm", eps)
        size = config["intermediate_size"]
        gate, up = layer.parts(normed, "mlp.gate_up_proj", ["mlp.gate_proj", "mlp.up_proj"], [size, size])
        x = x + layer.linear(gate * torch.sigmoid(gate) * up, "mlp.down_proj")
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
        longest = case.get("max_model_len", 0)
        logits, captured = forward(config, weights, tokens, longest, case.get("context", 0), kept)
        write(case["output"] + ".logits", logits)
        for name, tensors in captured.items():
            write(case["output"] + "." + name, torch.stack(tensors))
        continuation = []
        for _ in range(case.get("greedy", 0)):
            continuation.append(int(logits[-1].argmax()))
            logits, _ = forward(config, weights, tokens + continuation, longest)
        with open(case["output"] + ".json", "w") as file:
            json.dump({"continuation": continuation}, file)


if __name__ == "__main__":
    main()
