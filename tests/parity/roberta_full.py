#!/usr/bin/python3
"""RoBERTa-base at full size against PyTorch: logits, loss and the gradient of every LoRA matrix.

    /usr/bin/python3 tests/parity/roberta_full.py build/test/tests/roberta_gradients [--small]

Random weights, LoRA of rank 8 on all 74 Linears with B != 0, 32 sentences of 4 to 32 tokens, eval
mode. Both sides get the same files; the model is the one of tests/fixtures/make_roberta.py. Fails
when anything differs by more than 1e-4 of the largest number of its tensor. Needs 4 GB and
python3-torch; tests/parity/test_roberta_full.sh runs it on demand.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile

import torch
from torch.nn import functional as F

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures"))
from make_roberta import BASE, PAD, SMALL, Classifier, add_lora  # noqa: E402

DTYPES = {torch.float32: "F32", torch.int64: "I64"}


def save(path, tensors):
    header, at = {}, 0
    for name, x in tensors.items():
        size = x.numel() * x.element_size()
        header[name] = {"dtype": DTYPES[x.dtype], "shape": list(x.shape),
                        "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for x in tensors.values():
            out.write(x.detach().contiguous().numpy().tobytes())


def load(path):
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, e in json.loads(data[8:8 + n]).items():
        begin, end = (8 + n + o for o in e["data_offsets"])
        tensors[name] = torch.frombuffer(bytearray(data[begin:end]),
                                         dtype=torch.float32).reshape(e["shape"])
    return tensors


def main():
    program, c, rank, alpha = sys.argv[1], dict(SMALL if "--small" in sys.argv else BASE), 8, 16.0
    torch.manual_seed(0)
    model = Classifier(c).eval()
    add_lora(model, rank, alpha)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "LayerNorm.weight" in name:
                p.normal_(1, 0.1)
            # LoRA's own are smaller: their product is multiplied by alpha and summed over the rank
            else:
                p.normal_(0, 0.02)
            p.requires_grad_(".lora." in name)
    longest = min(32, c["positions"] - 2)
    ids = torch.randint(5, c["vocab"], (32, longest))
    for row in range(32):
        length = 4 + row % (longest - 3)
        ids[row, 0], ids[row, length - 1], ids[row, length:] = 0, 2, PAD
    labels = torch.randint(0, 2, (32,))
    with tempfile.TemporaryDirectory() as folder:
        save(os.path.join(folder, "model.safetensors"), dict(model.named_parameters()))
        save(os.path.join(folder, "batch.safetensors"), {"ids": ids, "labels": labels})
        with open(os.path.join(folder, "config.json"), "w") as out:
            json.dump({"vocab_size": c["vocab"], "hidden_size": c["hidden"],
                       "num_hidden_layers": c["layers"],
                       "num_attention_heads": c["heads"], "intermediate_size": c["ffn"],
                       "type_vocab_size": c["types"],
                       "max_position_embeddings": c["positions"], "num_labels": c["labels"]}, out)
        subprocess.run([program, folder, str(rank), str(alpha)], check=True)
        result = load(os.path.join(folder, "result.safetensors"))

    logits = model(ids, ids != PAD)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    expected = {"logits": logits, "loss": loss}
    expected.update((name, p.grad) for name, p in model.named_parameters() if p.requires_grad)
    assert set(expected) == set(result), "different names: %s" % sorted(
        set(expected) ^ set(result))[:5]
    worst = {"logits": 0.0, "loss": 0.0, "gradients": 0.0}
    for name, want in expected.items():
        got, want = result[name], want.detach()
        assert got.shape == want.shape, "%s: %s, PyTorch %s" % (name, got.shape, want.shape)
        difference = float((got - want).abs().max() / want.abs().max())
        kind = name if name in worst else "gradients"
        worst[kind] = max(worst[kind], difference)
        assert difference <= 1e-4, "%s differs by %.2g of its largest element" % (name, difference)
    gradients = sum(".lora." in name for name in expected)
    print("agrees with PyTorch: %d gradients; largest differences of the largest element: %s" % (
        gradients, ", ".join("%s %.1e" % (kind, value) for kind, value in worst.items())))


if __name__ == "__main__":
    main()
