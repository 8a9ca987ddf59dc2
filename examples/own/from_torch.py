#!/usr/bin/python3
"""Two nets go from PyTorch to Lorikeet and back. examples/own/from_torch.c is the other half.

    from_torch.py write DIR    trains the nets for some steps, saves them with their optimizers,
                               and notes what they give and the losses of the steps to come
    from_torch DIR             loads them, compares, makes the same steps and saves (the C program)
    from_torch.py check DIR    loads what came back: does it give here what it gave there?

The files are safetensors. The few lines of plain_safetensors.py read and write them, so that
Python needs no package but torch.
"""
import array
import os
import sys

import torch
import torch.nn.functional as F
from torch import nn

sys.dont_write_bytecode = True
from plain_safetensors import read_safetensors, write_safetensors

STEPS = 8  # before saving, and again after it


# ---- the nets: an attribute here is a field of a struct in from_torch.c -------------------------

class Tagger(nn.Module):
    """A class for each of the words, whose ids are (B, S)."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(30, 16)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 5)

    def forward(self, ids):
        x, _ = self.lstm(self.embedding(ids))
        scores = self.head(self.norm(self.encoder(x)))
        return scores.transpose(1, 2)  # (B, classes, S), as cross_entropy wants it


class Block(nn.Module):
    """relu(x + f(x)). For a stride of 2, x goes through a shortcut that has it too."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = None
        if stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                                          nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (self.shortcut(x) if self.shortcut else x))


def resnet():
    """A class for each of the pictures (B, 3, H, W)."""
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
                         Block(8, 8, 1), Block(8, 16, 2),
                         nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(16, 5))


# Each net with its optimizer, and with inputs and labels that are random.
NETS = {
    "tagger": (Tagger, lambda p: torch.optim.Adam(p, lr=1e-2),
               lambda: (torch.randint(30, (8, 12)), torch.randint(5, (8, 12)))),
    "resnet": (resnet, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
               lambda: (torch.randn(8, 3, 12, 12), torch.randint(5, (8,)))),
}


# ---- files --------------------------------------------------------------------------------------

def save(path, tensors, **metadata):
    code = {torch.float32: "f", torch.float64: "d", torch.int64: "q"}
    numbers = {name: (list(x.shape), array.array(code[x.dtype], x.flatten().tolist()))
               for name, x in tensors.items()}
    write_safetensors(path, numbers, metadata)


def load(path):
    dtype = {"f": torch.float32, "d": torch.float64, "q": torch.int64}
    return {name: torch.tensor(numbers.tolist(), dtype=dtype[numbers.typecode]).reshape(shape)
            for name, (shape, numbers) in read_safetensors(path).items()}


def optimizer_tensors(optimizer, net):
    """What lk_load_optimizer reads: NAME.step, and NAME with what PyTorch calls each moment."""
    tensors = {}
    for name, p in net.named_parameters():
        state = {"step": STEPS, **optimizer.state[p]}  # PyTorch's SGD does not count its steps
        for key, value in state.items():
            tensors[f"{name}.{key}"] = torch.tensor(int(value)) if key == "step" else value
    return tensors


# ---- the two ways -------------------------------------------------------------------------------

def train(net, optimizer, x, labels):
    """Returns the loss of each step. Batch norm uses the statistics of the batch."""
    net.train()
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def output(net, x):
    """What the net gives in evaluation. Batch norm uses its running statistics."""
    net.eval()
    with torch.no_grad():
        return net(x)


def write(path, name):
    make, make_optimizer, draw = NETS[name]
    net, (x, labels) = make(), draw()
    optimizer = make_optimizer(net.parameters())
    first = train(net, optimizer, x, labels)[0]
    save(f"{path}/{name}.safetensors", net.state_dict(), format="pt")
    save(f"{path}/{name}_optimizer.safetensors", optimizer_tensors(optimizer, net),
         optimizer=type(optimizer).__name__)
    expected = output(net, x)
    losses = train(net, optimizer, x, labels)
    save(f"{path}/{name}_expected.safetensors",
         {"x": x, "labels": labels, "output": expected, "losses": torch.tensor(losses)})
    print(f"{name}: {STEPS} steps, the loss falls from {first:.4f} to {losses[0]:.4f}")
    return True


def check(path, name):
    net = NETS[name][0]()
    net.load_state_dict(load(f"{path}/{name}_back.safetensors"))
    x = load(f"{path}/{name}_expected.safetensors")["x"]
    there = load(f"{path}/{name}_back_output.safetensors")["output"]
    error = (output(net, x) - there).abs().max().item()
    print(f"{'PASS' if error < 1e-5 else 'FAIL'}  {name}: back again, the outputs differ by at "
          f"most {error:.1e}")
    return error < 1e-5


def main():
    modes = {"write": write, "check": check}
    if len(sys.argv) != 3 or sys.argv[1] not in modes:
        sys.exit("usage: from_torch.py write|check DIR")
    mode, path = modes[sys.argv[1]], sys.argv[2]
    os.makedirs(path, exist_ok=True)
    torch.manual_seed(0)
    sys.exit(not all([mode(path, name) for name in NETS]))


main()
