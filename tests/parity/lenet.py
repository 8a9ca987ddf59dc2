#!/usr/bin/python3
"""examples/models/cnn_mnist.c in PyTorch, with the same random numbers; prints the same lines.

lenet.py MNIST SEED EPOCHS [LIMIT]    MNIST: a folder with the four files; LIMIT: batches of each
pass over the training set
"""
import gzip
import itertools
import os
import sys
import time

import torch
from torch import nn
from torch.utils.data import DataLoader


def read(folder, split):
    with gzip.open(os.path.join(folder, split + "-images-idx3-ubyte.gz")) as f:
        images = torch.frombuffer(bytearray(f.read()[16:]), dtype=torch.uint8)
    with gzip.open(os.path.join(folder, split + "-labels-idx1-ubyte.gz")) as f:
        labels = torch.frombuffer(bytearray(f.read()[8:]), dtype=torch.uint8)
    return (images.view(-1, 1, 28, 28).float() / 255 - 0.1307) / 0.3081, labels.long()


def train(net, rows, limit, optimizer, images, labels):
    total, batches = 0.0, 0
    for at in itertools.islice(rows, limit):
        loss = nn.functional.cross_entropy(net(images[at]), labels[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        batches += 1
    return total / batches


@torch.no_grad()
def test(net, rows, images, labels):
    return sum((net(images[at]).argmax(1) == labels[at]).sum().item()
               for at in rows) / len(labels)


def main():
    folder, seed, epochs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    limit = int(sys.argv[4]) if len(sys.argv) > 4 else None
    train_set, test_set = read(folder, "train"), read(folder, "t10k")
    torch.manual_seed(seed)
    # Loaders of row numbers draw the same order as loaders of images, and are faster.
    training = DataLoader(range(len(train_set[1])), batch_size=64, shuffle=True)
    testing = DataLoader(range(len(test_set[1])), batch_size=1000)
    net = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                        nn.Linear(16 * 5 * 5, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
                        nn.Linear(84, 10))
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, epochs, 2)
    for epoch in range(1, epochs + 1):
        start = time.time()
        loss = train(net, training, limit, optimizer, *train_set)
        accuracy = test(net, testing, *test_set)
        schedule.step()
        print(f"epoch {epoch}  loss {loss:.4f}  test accuracy {100 * accuracy:.2f} %  "
              f"{time.time() - start:.1f} s", flush=True)


main()
