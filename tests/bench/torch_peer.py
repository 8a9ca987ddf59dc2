#!/usr/bin/python3
"""torch_peer.py - the training workloads of bench in PyTorch: the same names, sizes and JSON, so
that run.sh can pair them.

    torch_peer.py [WORKLOAD…] [--threads N] [--reps N] [--json FILE] [--data DIR]

PyTorch is used as well as it can be: foreach Adam, gradients set to None; run.sh adds OpenBLAS
with OpenMP and a malloc that keeps its pages. Each workload runs in a process of its own. The
images are MNIST's test images or random bytes."""
import argparse
import fnmatch
import gzip
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time

NETS = {"W1": (64, (784, 128, 64, 10)), "W2": (10, (784, 1000, 2000, 10)),
        "W3": (10, (784, 1000, 1500, 1300, 10))}
WORKLOADS = ["W1_full", "W1_lora", "W2_full", "W2_lora", "W3_full",
             "W3_lora", "W4_lora", "W4_full", "W4_infer",
             "W5_base", "W5_lora", "W6_adam", "W_lstm", "W_gru", "op",
             *(f"conv_64x{size}_{way}" for size in (28, 14) for way in ("forward", "dX", "dW")),
             "pool_6x28", "pool_64x56", "LeNet"]
REP_SECONDS, LONG, CHAIN = 0.02, 0.5, 100


def images(torch, data):
    """10,000 normalized images (n, 784) and their labels."""
    try:
        with gzip.open(os.path.join(data or "", "mnist", "t10k-images-idx3-ubyte.gz")) as f:
            pixels = torch.frombuffer(bytearray(f.read()[16:]), dtype=torch.uint8).view(-1, 784)
        with gzip.open(os.path.join(data or "", "mnist", "t10k-labels-idx1-ubyte.gz")) as f:
            labels = torch.frombuffer(bytearray(f.read()[8:]), dtype=torch.uint8).long()
    except OSError:
        pixels, labels = torch.randint(0, 256, (10000, 784)), torch.randint(0, 10, (10000,))
    return (pixels.float() / 255 - 0.1307) / 0.3081, labels


def build(torch, widths, form):
    """Linear, ReLU, …, Linear; form: full, merged (rank 4, alpha 8) or parametrized (rank 1, alpha
    1)."""
    nn = torch.nn

    class LinearWithLoRAMerged(nn.Module):
        def __init__(self, linear, rank=4, alpha=8):
            super().__init__()
            self.linear, self.alpha = linear.requires_grad_(False), alpha
            self.A = nn.Parameter(torch.randn(linear.in_features, rank) / rank ** 0.5)
            self.B = nn.Parameter(torch.zeros(rank, linear.out_features))

        def forward(self, x):
            weight = self.linear.weight + self.alpha * (self.A @ self.B).T
            return nn.functional.linear(x, weight, self.linear.bias)

    class LoRAParametrization(nn.Module):
        def __init__(self, weight, rank=1, alpha=1):
            super().__init__()
            self.A = nn.Parameter(torch.randn(rank, weight.shape[1]))
            self.B = nn.Parameter(torch.zeros(weight.shape[0], rank))
            self.scale = alpha / rank

        def forward(self, weight):
            return weight + torch.matmul(self.B, self.A).view(weight.shape) * self.scale

    modules = []
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        layer = nn.Linear(a, b)
        if form == "merged":
            layer = LinearWithLoRAMerged(layer)
        if form == "parametrized":
            layer.requires_grad_(False)
            nn.utils.parametrize.register_parametrization(layer, "weight",
                                                          LoRAParametrization(layer.weight))
        modules += [nn.ReLU(), layer] if i else [layer]
    return nn.Sequential(*modules)


def training(torch, name, data):
    net_name, kind = name.split("_")
    batch, widths = NETS[net_name]
    net = build(torch, widths, "full" if kind == "full" else "merged"
                if net_name == "W1" else "parametrized")
    opt = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-3, foreach=True)
    x, y = images(torch, data)
    order, at = torch.randperm(len(x)), [0]

    def step():
        chosen = order[at[0]:at[0] + batch]
        at[0] = (at[0] + batch) % (len(x) - batch + 1)
        loss = torch.nn.functional.cross_entropy(net(x[chosen]), y[chosen])
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
    return step


def evaluation(torch, name, data):
    batch, widths = NETS["W2"]
    net = build(torch, widths, "parametrized" if name == "W5_lora" else "full").eval()
    x, y = images(torch, data)

    def evaluate():
        with torch.no_grad():
            return sum(int((net(x[i:i + batch]).argmax(1) == y[i:i + batch]).sum())
                       for i in range(0, len(x), batch))
    return evaluate


def roberta(torch, kind):
    """W4, with the model that the fixtures are made of; dropout behind its Linears and embeddings,
    as in training, but not on attention's probabilities."""
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures"))
    import make_roberta
    functional = torch.nn.functional
    model = make_roberta.Classifier(make_roberta.BASE)
    ids, labels = torch.randint(5, 50265, (32, 32)), torch.randint(0, 2, (32,))
    mask = torch.ones_like(ids)
    if kind == "infer":
        model.eval()

        def infer():
            with torch.no_grad():
                return model(ids, mask)
        return infer
    for m in model.modules():
        if isinstance(m, make_roberta.Embeddings):
            m.register_forward_hook(lambda m, x, y: functional.dropout(y, 0.1))
        if isinstance(m, make_roberta.Output):
            m.dense.register_forward_hook(lambda m, x, y: functional.dropout(y, 0.1))
    if kind == "lora":
        model.requires_grad_(False)
        make_roberta.add_lora(model, 8, 16)
        for name, p in model.named_parameters():
            if name.endswith(("lora.A", "lora.B")):
                torch.nn.init.normal_(p, 0, 0.02)
    opt = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad],
                            lr=5e-5, foreach=True)

    def step():
        loss = functional.cross_entropy(model(ids, mask), labels)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
    return step


def convolution(torch, name):
    """One pass of a convolution of 16 images with 64 channels, or a forward maximum of 2 x 2."""
    functional, sizes = torch.nn.functional, name.split("_")[1]
    channels, size = (int(n) for n in sizes.split("x"))
    x = torch.rand(64 if name == "pool_6x28" else 16, channels, size, size)
    w, dy = torch.rand(64, channels, 3, 3), torch.rand_like(x)
    way = name.split("_")[-1]

    def run():
        with torch.no_grad():
            if name.startswith("pool"):
                return functional.max_pool2d(x, 2)
            if way == "forward":
                return functional.conv2d(x, w, padding=1)
            return torch.ops.aten.convolution_backward(
                dy, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1,
                [way == "dX", way == "dW", False])
    return run


def lenet(torch):
    nn = torch.nn
    net = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
                        nn.Linear(84, 10))
    opt = torch.optim.Adam(net.parameters(), lr=1e-3, foreach=True)
    x, y = torch.rand(64, 1, 28, 28), torch.randint(0, 10, (64,))

    def step():
        loss = nn.functional.cross_entropy(net(x), y)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
    return step


def adam(torch):
    params = list(build(torch, NETS["W2"][1], "full").parameters())
    for p in params:
        p.grad = 2 * p.detach()
    return torch.optim.Adam(params, lr=1e-3, foreach=True).step


def recurrent(torch, name):
    """One layer over 64 steps of a batch of 32, with the gradient of the input."""
    layer = (torch.nn.LSTM if name == "W_lstm" else torch.nn.GRU)(128, 128)
    x, dy = torch.randn(64, 32, 128, requires_grad=True), torch.rand(64, 32, 128)

    def step():
        for p in [x, *layer.parameters()]:
            p.grad = None
        layer(x)[0].backward(dy)
    return step


def chain(torch):
    x = torch.nn.Parameter(torch.zeros(1))

    def run():
        y = x
        for _ in range(CHAIN):
            y = y * 1.001
        y.backward()
        x.grad = None
    return run


def timed(call, calls):
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - start


def measure(name, args, answers):
    """In a process of its own: torch is imported here, after the numbers of threads are set."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(args.threads)
    import torch
    import torch.nn.utils.parametrize
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    call = (adam(torch) if name == "W6_adam" else chain(torch) if name == "op" else
            evaluation(torch, name, args.data) if name.startswith("W5") else
            roberta(torch, name[3:]) if name.startswith("W4") else
            recurrent(torch, name) if name in ("W_lstm", "W_gru") else
            convolution(torch, name) if name.startswith(("conv", "pool")) else
            lenet(torch) if name == "LeNet"
            else training(torch, name, args.data))
    taken, calls = timed(call, 1), 1
    reps = args.reps if taken < LONG else min(args.reps, 3)
    while taken < REP_SECONDS:
        calls = int(min(10 * calls, 1.1 * REP_SECONDS / taken * calls + 1))
        taken = timed(call, calls)
    unit = calls * (CHAIN if name == "op" else 1)
    seconds = [timed(call, calls) / unit for _ in range(reps)]
    answers.put({"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds),
                 "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024e-6,
                 "torch": torch.__version__})


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=["*"])
    parser.add_argument("--threads", type=int, default=0, help="0: one for each processor")
    parser.add_argument("--reps", type=int, default=7)
    parser.add_argument("--json")
    parser.add_argument("--data")
    args = parser.parse_args()
    args.threads = args.threads or os.cpu_count()
    results = {"program": "torch_peer"}
    context = multiprocessing.get_context("spawn")
    for name in WORKLOADS:
        if not any(fnmatch.fnmatch(name, pattern) for pattern in args.workloads):
            continue
        answers = context.SimpleQueue()
        process = context.Process(target=measure, args=(name, args, answers))
        process.start()
        process.join()
        if process.exitcode != 0:
            raise SystemExit(f"torch_peer.py: {name} failed, see above")
        result = answers.get()
        results["torch"] = result.pop("torch")
        results[f"{name}/{args.threads}"] = result
        print(
            f"{name:<32} {args.threads:2d}  {result['median'] * 1e6:10.2f} "
            f"{result['min'] * 1e6:10.2f} "
              f"{result['max'] * 1e6:10.2f} {result['peak_mb']:7.1f}", flush=True)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(results, f, indent=2)


if __name__ == "__main__":
    main()
