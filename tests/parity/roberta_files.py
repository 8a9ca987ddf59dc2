#!/usr/bin/env python3
"""Reads what roberta_sst2 leaves in its --output with a reader of its own, and compares it with
what the homework and PEFT would have written. Python's standard library is enough.

    python3 tests/parity/roberta_files.py OUTPUT --model MODEL [--rank 8 --alpha 16]

MODEL is the folder whose config.json, and model.safetensors if there, the run began with. What is
compared of best_checkpoint/model.safetensors: the format, names and shapes of all tensors (349 at
12 layers, 74 Linears wrapped), finite values, and that what was frozen is what MODEL has. Of
adapter/: keys and shapes as PEFT has them, every setting of adapter_config.json, that
target_modules names the adapted Linears and no other module, and the values: A and B transposed,
the head merged. Sizes are computed from the config, not taken from the files.
"""
import argparse
import array
import json
import math
import pathlib
import struct
import sys

SIZES = {"F64": 8, "F32": 4, "I64": 8, "U8": 1, "BOOL": 1}
CONFIG = {"alpha_pattern": {}, "auto_mapping": None, "bias": "none",
          "fan_in_fan_out": False, "inference_mode": True,
          "init_lora_weights": True, "layers_pattern": None, "layers_to_transform": None,
          "lora_bias": False,
          "lora_dropout": 0.0, "modules_to_save": ["classifier"], "peft_type": "LORA",
          "rank_pattern": {},
          "revision": None, "task_type": "SEQ_CLS", "use_dora": False, "use_rslora": False}
failures = []


def check(ok, text):
    if not ok:
        failures.append(text)
        print("FAILED", text)


class File:
    """A safetensors file; its tensors are read one at a time."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as f:
            length = struct.unpack("<Q", f.read(8))[0]
            text = f.read(length)
        check(text[:1] == b"{" and length % 8 == 0,
              f"{path}: the header begins with {{ and is filled to 8 bytes")
        pairs = json.loads(text.decode(), object_pairs_hook=list)
        entries = {name: dict(info) for name, info in pairs}
        check(len(entries) == len(pairs), f"{path}: no name is there twice")
        self.metadata = entries.pop("__metadata__", None)
        self.entries, self.start = entries, 8 + length
        at = 0
        # the writer's order is that of the data: dtype, then name
        for name, info in entries.items():
            begin, end = info["data_offsets"]
            size = math.prod(info["shape"]) * SIZES[info["dtype"]]
            check(begin == at and end - begin == size,
                  f"{path}: {name} begins where the last one ends, with its size")
            at = end
        check(self.start + at == path.stat().st_size, f"{path}: the tensors cover the file")
        names = list(entries)
        check(all(e["dtype"] == "F32" for e in entries.values())
              and names == sorted(names, key=str.encode),
              f"{path}: all are F32, in the order of their names")

    def shapes(self):
        return {name: tuple(info["shape"]) for name, info in self.entries.items()}

    def read(self, name):
        begin, end = self.entries[name]["data_offsets"]
        values = array.array("f")
        with open(self.path, "rb") as f:
            f.seek(self.start + begin)
            values.frombytes(f.read(end - begin))
        if sys.byteorder != "little":
            values.byteswap()
        return values


def base_shapes(c):
    """The 201 tensors of RobertaForSequenceClassification, for 12 layers."""
    h, ff = c["hidden_size"], c["intermediate_size"]
    shapes = {f"roberta.embeddings.{table}_embeddings.weight": (rows, h)
              for table, rows in (("word", c["vocab_size"]),
                                  ("position", c["max_position_embeddings"]),
                                  ("token_type", c.get("type_vocab_size", 1)))}

    def linear(name, inputs, outputs):
        shapes[name + ".weight"], shapes[name + ".bias"] = (outputs, inputs), (outputs,)

    def norm(name):
        shapes[name + ".weight"] = shapes[name + ".bias"] = (h,)

    norm("roberta.embeddings.LayerNorm")
    for i in range(c["num_hidden_layers"]):
        layer = f"roberta.encoder.layer.{i}."
        for part in ("attention.self.query", "attention.self.key", "attention.self.value",
                     "attention.output.dense"):
            linear(layer + part, h, h)
        linear(layer + "intermediate.dense", h, ff)
        linear(layer + "output.dense", ff, h)
        norm(layer + "attention.output.LayerNorm")
        norm(layer + "output.LayerNorm")
    linear("classifier.dense", h, h)
    linear("classifier.out_proj", h, c.get("num_labels", 2))
    return shapes


def compare_shapes(path, found, expected):
    for name in sorted(found.keys() | expected.keys()):
        got, wants = found.get(name), expected.get(name)
        check(got == wants, f"{path}: {name} is {got}, expected {wants}")


def check_finite(file):
    """The sum of finite floats is finite in double, and of any others it is not."""
    for name in file.entries:
        check(math.isfinite(sum(file.read(name))), f"{file.path}: {name} is finite")


def transposed(values, rows, columns):
    return array.array("f", (values[r * columns + c] for c in range(columns) for r in range(rows)))


def check_best(folder, model, base, wrapped, rank):
    best = File(folder / "best_checkpoint" / "model.safetensors")
    expected = {}
    for name, shape in base.items():
        module, parameter = name.rsplit(".", 1)
        expected[f"{module}.linear.{parameter}" if module in wrapped else name] = shape
    for module, (outputs, inputs) in wrapped.items():
        expected[module + ".lora.A"], expected[module + ".lora.B"] = (inputs,
                                                                      rank), (rank, outputs)
    compare_shapes(best.path, best.shapes(), expected)
    check(best.metadata == {"format": "pt"}, f"{best.path}: the metadata are {best.metadata}")
    check_finite(best)
    old = model / "model.safetensors"
    same = 0
    if old.exists():
        old = File(old)
        for name in base.keys() & old.entries.keys():
            module, parameter = name.rsplit(".", 1)
            same += 1
            check(best.read(f"{module}.linear.{parameter}" if module in wrapped else name)
                  == old.read(name),
                  f"{name} was frozen, and is what it was")
    changed = sum(any(best.read(module + ".lora.B")) for module in wrapped)
    numbers = sum(math.prod(s) for s in expected.values())
    trained = sum(math.prod(s) for name, s in expected.items() if ".lora." in name)
    print(f"{best.path}: {len(best.entries)} tensors, {numbers:,} numbers, {trained:,} of LoRA "
          f"({100 * trained / numbers:.4f}%), {len(wrapped)} Linears wrapped, B is not 0 in "
          f"{changed}; "
          f"{same} tensors compared with the base's file")
    return best


def ends_with(name, end):
    return name == end or name.endswith("." + end)


def check_adapter(folder, best, base, wrapped, rank, alpha):
    path = folder / "adapter" / "adapter_config.json"
    text = path.read_text(encoding="utf-8")
    config = json.loads(text)
    check(text == json.dumps(config, indent=2, sort_keys=True),
          f"{path}: keys are sorted, the indent is 2")
    targets, model_name = config.pop("target_modules"), config.pop("base_model_name_or_path")
    expected = {**CONFIG, "r": rank, "lora_alpha": alpha * rank}
    for key in sorted(config.keys() | expected.keys()):
        check(key in config and key in expected and config[key] == expected[key],
              f"{path}: {key} is {config.get(key)}, expected {expected.get(key)}")
    check(isinstance(model_name, str) and model_name,
          f"{path}: base_model_name_or_path is {model_name}")

    adapted = {m: s for m, s in wrapped.items() if not m.startswith("classifier.")}
    modules = {"", *(m[:i] for m in base for i, c in enumerate(m) if c == ".")}
    meant = {m for m in modules if any(ends_with(m, t) for t in targets)
             and not m.startswith("classifier")}
    check(meant == set(adapted),
          f"{path}: target_modules {targets} are {len(meant)} modules, expected {len(adapted)}")

    file = File(folder / "adapter" / "adapter_model.safetensors")
    prefix, shapes = "base_model.model.", {}
    for module, (outputs, inputs) in adapted.items():
        shapes[f"{prefix}{module}.lora_A.weight"] = (rank, inputs)
        shapes[f"{prefix}{module}.lora_B.weight"] = (outputs, rank)
    for name, shape in base.items():
        if name.startswith("classifier."):
            shapes[prefix + name] = shape
    compare_shapes(file.path, file.shapes(), shapes)
    check(file.metadata == {"format": "pt"}, f"{file.path}: the metadata are {file.metadata}")
    check_finite(file)
    for module, (outputs, inputs) in adapted.items():
        for part, rows, columns in ("A", inputs, rank), ("B", rank, outputs):
            check(file.read(f"{prefix}{module}.lora_{part}.weight")
                  == transposed(best.read(f"{module}.lora.{part}"), rows, columns),
                  f"{file.path}: {module}: lora_{part} is {part} transposed")

    # PEFT replaces the head as a whole, so that its LoRA has to be in its weights: W + alpha (A
    # B)^T.
    worst = 0
    for module in wrapped.keys() - adapted.keys():
        outputs, inputs = wrapped[module]
        W, A, B = (best.read(f"{module}.{part}") for part in ("linear.weight", "lora.A", "lora.B"))
        merged = file.read(f"{prefix}{module}.weight")
        columns = [B[o::outputs] for o in range(outputs)]
        for o in range(outputs):
            for i in range(inputs):
                delta = math.fsum(a * b for a, b in zip(A[i * rank:(i + 1) * rank], columns[o]))
                worst = max(worst, abs(W[o * inputs + i] + alpha * delta - merged[o * inputs + i]))
        check(file.read(f"{prefix}{module}.bias") == best.read(f"{module}.linear.bias"),
              f"{module}.bias is as it was")
    check(worst < 1e-6, f"{file.path}: the merged head differs by {worst:.2g}")
    print(
        f"{file.path}: {len(file.entries)} tensors, r {rank}, lora_alpha {config['lora_alpha']}, "
          f"target_modules {', '.join(targets)}: {len(meant)} Linears; the merged head differs by "
        f"{worst:.2g} at most")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--alpha", type=int, default=16)
    args = parser.parse_args()
    base = base_shapes(json.loads((args.model / "config.json").read_text(encoding="utf-8")))
    wrapped = {name[:-len(".weight")]: shape for name, shape in base.items()
               if name.endswith(".weight") and "embeddings" not in name
               and "LayerNorm" not in name}
    best = check_best(args.output, args.model, base, wrapped, args.rank)
    check_adapter(args.output, best, base, wrapped, args.rank, args.alpha)
    print(f"{len(failures)} failures")
    return 1 if failures else 0


sys.exit(main())
