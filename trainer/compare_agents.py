"""Prints the largest difference of two agent files' tensors, relative to each tensor's largest entry.

But for output.bias: no ranking depends on it, so that its gradient is rounding alone, which AdamW scales up to its rate.
"""

import array
import json
import struct
import sys


def tensors(path):
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    header.pop("output.bias")
    result = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        result[name] = array.array("f", data[8 + length + begin : 8 + length + end])
    return result


first, second = tensors(sys.argv[1]), tensors(sys.argv[2])
if first.keys() != second.keys():
    sys.exit("different tensors")
worst = 0.0
for name, values in first.items():
    scale = max(1.0, max(abs(value) for value in values))
    worst = max(worst, max(abs(a - b) for a, b in zip(values, second[name])) / scale)
print(worst)
