#!/usr/bin/python3
"""Reads adapters as PEFT does, without PEFT: which modules, which ranks, which strengths.

peft_rule.py FOLDER    holds the folders of tests/data/test_peft_random.c, with what was meant in
`expected`
"""
import json
import os
import re
import struct
import sys


def fits(target, name):
    return re.fullmatch(target, name) if isinstance(target,
                                                    str) else any(("." + name).endswith("." + t)
                                                                  for t in target)


def value(patterns, name, default):
    """get_pattern_key of peft/utils/other.py, and what is done with it"""
    key = next((key for key in patterns if re.match(rf"(.*\.)?({key})$", name)), name)
    return patterns.get(key, default)


def read(folder, names):
    """{name: (rank, scale)} of the adapted ones, and the names of those that are replaced"""
    with open(os.path.join(folder, "adapter_config.json"), encoding="utf-8") as f:
        config = json.load(f)
    whole = [n for n in names if any(n.endswith(end) for end in config["modules_to_save"] or [])]
    saved = {n for n in names if any(n == w or n.startswith(w + ".") for w in whole)}
    adapters = {}
    for name in names:
        if name not in saved and fits(config["target_modules"], name):
            rank = value(config["rank_pattern"], name, config["r"])
            adapters[name] = rank, value(config["alpha_pattern"], name,
                                         config["lora_alpha"]) / rank
    return adapters, saved


def check(folder):
    with open(os.path.join(folder, "expected"), encoding="utf-8") as f:
        lines = [line.rstrip("\n").split(" ") for line in f]
    adapters, saved = read(folder, [line[1] for line in lines])
    expected = {line[1]: (int(line[2]), float.fromhex(line[3]))
                for line in lines if line[0] == "adapter"}
    assert adapters.keys() == expected.keys(), (folder, adapters, expected)
    assert saved == {line[1] for line in lines if line[0] == "saved"}, (folder, saved)
    for name, (rank, scale) in expected.items():
        assert adapters[name][0] == rank, (folder, name, adapters[name], rank)
        assert abs(adapters[name][1] - scale) <= 2.0**-52 * abs(scale), (folder, name,
                                                                         adapters[name], scale)
    with open(os.path.join(folder, "adapter_model.safetensors"), "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    shapes = {key: tensor["shape"] for key, tensor in header.items() if "lora_" in key}
    prefix = "base_model.model."
    assert {k: v[0] for k, v in shapes.items() if "lora_A" in k} == {
        f"{prefix}{n}.lora_A.weight": rank for n, (rank, _) in expected.items()}, (folder, shapes)
    assert len(shapes) == 2 * len(expected), (folder, shapes)
    return len(expected)


folders = [os.path.join(sys.argv[1], name) for name in os.listdir(sys.argv[1])]
print(f"{len(folders)} nets, {sum(check(folder) for folder in folders)} adapters")
