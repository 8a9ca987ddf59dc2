#!/usr/bin/python3
"""table.py FOLDER COMMAND - writes the Markdown table from the JSON files that run.sh left in
FOLDER: bench.1.json, blas_peer.1.json, torch_peer.1.json and the same of further rounds. Medians
over the rounds; a side that is not there is left out, and the table says so."""
import glob
import json
import os
import statistics
import sys


class Side:
    """All rounds of one program."""

    def __init__(self, folder, name):
        self.rounds = []
        # without what runs once
        self.count = len(glob.glob(os.path.join(folder, name + ".[0-9]*.json")))
        for path in sorted(glob.glob(os.path.join(folder, name + ".*.json"))):
            with open(path) as f:
                self.rounds.append(json.load(f))

    def all(self, workload, threads, field):
        found = [r.get(f"{workload}/{threads}", {}).get(field) for r in self.rounds]
        return [x for x in found if x is not None]

    def get(self, workload, threads, field="median"):
        found = self.all(workload, threads, field)
        return statistics.median(found) if found else None

    def best(self, limit, threads, unit):
        """The highest speed of a limit in any round, in units of 10^9 a second."""
        medians, least, speeds = (self.all(limit, threads, field)
                                  for field in ("median", "min", unit))
        return (max(m / best * speed for m, best, speed in zip(medians, least, speeds))
                if speeds else 0)

    def shares(self, workload, threads):
        """The share of the peak and the share of the bandwidth that were reached, of the best
        limits of all rounds: a round that was disturbed has low ones. None without a size."""
        gflops, gbs, size = (self.get(workload, threads, field)
                             for field in ("gflops", "gbs", "working_set"))
        if size is None:
            return None
        peak = max(self.best(name, threads, "gflops") for name in self.names("fma_"))
        reads = {self.get(name, threads, "working_set"): self.best(name, threads, "gbs")
                 for name in self.names("read_")}
        reads.pop(None, None)
        nearest = max((s for s in reads if s <= size), default=min(reads))
        bandwidth = max(speed for s, speed in reads.items() if s >= nearest)
        return (gflops or 0) / peak, gbs / bandwidth

    def fraction(self, workload, threads):
        """As bench.c has it: of the limit that allows less."""
        shares = self.shares(workload, threads)
        return shares and max(shares)

    def bound(self, workload, threads):
        """The limit that allows less: "r" for reading memory, nothing for arithmetic."""
        arithmetic, reading = self.shares(workload, threads) or (1, 0)
        return "r" if reading > arithmetic else ""

    def names(self, prefix=""):
        seen = {}
        for r in self.rounds:
            for key, value in r.items():
                if isinstance(value, dict) and key.startswith(prefix):
                    seen[key.rsplit("/", 1)[0]] = None
        return list(seen)


def seconds(x):
    if x is None:
        return "–"
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if x * factor >= 1:
            return f"{x * factor:.3g} {unit}"
    return f"{x * 1e9:.3g} ns"


def number(x, form=".2f"):
    return "–" if x is None else format(x, form)


def ratio(a, b):
    return None if a is None or b is None else a / b


def row(cells):
    print("| " + " | ".join(cells) + " |")


def header(cells):
    print()
    row(cells)
    row(["---"] * len(cells))


def limits(bench, threads):
    print("\n## The machine's limits\n\n"
          "The best that was seen in any round; omp_region: the median.")
    header(["", "1 thread", f"{threads} threads"])
    for name in bench.names():
        if not name.startswith(("fma_", "read_", "triad_", "omp_")):
            continue
        cells = [name]
        for n in (1, threads):
            gflops, gbs = bench.best(name, n, "gflops"), bench.best(name, n, "gbs")
            cells.append(f"{gflops:.0f} GFLOP/s" if gflops else f"{gbs:.1f} GB/s"
                         if gbs else seconds(bench.get(name, n)))
        row(cells)


def training(bench, torch, threads):
    print("\n## Training and evaluation\n\n"
          "Time of a step (W4_infer: of 32 sentences; W5: of 10,000 images; op: of one "
          "operation). Fraction: of what the machine's limits allow.")
    peer = ["torch tuned", "torch / Lorikeet"] if torch.rounds else []
    memory = ["torch peak memory"] if torch.rounds else []
    header(["", "1 thread", f"{threads} threads", "1 → " + str(threads),
            "fraction", *peer, "peak memory", *memory])
    names = bench.names("W") + bench.names("LeNet") + bench.names("op")
    for name in [n for n in names if n != "omp_region"]:
        one, ours, theirs = bench.get(name, 1), bench.get(name, threads), torch.get(name, threads)
        cells = [name, seconds(one), seconds(ours), number(ratio(one, ours)),
                 number(bench.fraction(name, threads))]
        if torch.rounds:
            cells += [seconds(theirs), number(ratio(theirs, ours), ".1f")]
        cells.append(number(bench.get(name, threads, "peak_mb"), ".0f") + " MB")
        if torch.rounds:
            cells.append(number(torch.get(name, threads, "peak_mb"), ".0f") + " MB")
        row(cells)


def small_peer(bench, kann, threads):
    print(f"\n## Beside kann\n\n{kann.rounds[0]['kernels']} with OpenBLAS's products. It steps by "
          "RMSprop, Lorikeet by Adam.")
    header(["", "kann, 1 thread", f"{threads} threads", "kann / Lorikeet, 1 thread",
            f"{threads} threads"])
    for name in kann.names("W") + kann.names("LeNet"):
        times = [kann.get(name, n) for n in (1, threads)]
        ratios = [ratio(kann.get(name, n), bench.get(name, n)) for n in (1, threads)]
        row([name, *map(seconds, times), *map(number, ratios)])


def convolutions(bench, torch, threads):
    print("\n## Convolutions and pooling\n\n"
          "Time of a call. Fraction: of what the machine's limits allow. dX and dW: one gradient "
          "alone.")
    peer = ["torch tuned", "torch / Lorikeet"] if torch.rounds else []
    header(["", "1 thread", f"{threads} threads", "1 → " + str(threads), "fraction", *peer])
    for name in bench.names("conv_") + bench.names("pool_"):
        one, ours, theirs = bench.get(name, 1), bench.get(name, threads), torch.get(name, threads)
        cells = [name, seconds(one), seconds(ours), number(ratio(one, ours)),
                 number(bench.fraction(name, threads))]
        if torch.rounds:
            cells += [seconds(theirs), number(ratio(theirs, ours), ".1f")]
        row(cells)


def programs(bench, threads):
    print("\n## Programs as the user runs them\n\n"
          "Steps per second by their own JSON, loading and shuffling included; "
          "mnist_lora evaluates a batch after each step.")
    bare = {"digit9_full": "W2_full", "digit9_lora": "W2_lora",
            "mnist_lora_full": "W1_full", "mnist_lora_lora": "W1_lora"}
    header(["", "1 thread", f"{threads} threads", "the bare step", "peak memory"])
    for name in bare:
        speeds = [ratio(1, bench.get(name, n))
                  for n in (1, threads)] + [ratio(1, bench.get(bare[name], threads))]
        row([name, *(number(s, ".0f") + " / s" for s in speeds),
             number(bench.get(name, threads, "peak_mb"), ".0f") + " MB"])


def products(bench, blas, threads):
    print(f"\n## Matrix products, {threads} threads\n\n"
          "x is (m, in), W is (out, in). GFLOP/s; in brackets the fraction of what the limits "
          "allow: arithmetic, or with an r the reading of memory"
          + ("; then how many times OpenBLAS's speed." if blas.rounds else "."))
    header(["m × in × out", "forward", "dX", "dW", "1 → " + str(threads)])
    for shape in dict.fromkeys(n.rsplit("_", 1)[0] for n in bench.names("matmul_")):
        cells, scaling = [shape[len("matmul_"):].replace("x", " × ")], []
        for way in ("forward", "dX", "dW"):
            name = f"{shape}_{way}"
            ours = bench.get(name, threads)
            cell = (f"{number(bench.get(name, threads, 'gflops'), '.0f')} "
                    f"({number(bench.fraction(name, threads))}{bench.bound(name, threads)})")
            if blas.rounds:
                cell += f" {number(ratio(blas.get(name, threads), ours))}×"
            cells.append(cell)
            scaling.append(number(ratio(bench.get(name, 1), ours), ".1f"))
        row([*cells, " ".join(scaling)])


def main():
    folder, command = sys.argv[1:]
    bench, blas, torch, kann = (Side(folder, name)
                                for name in ("bench", "blas_peer", "torch_peer", "kann_peer"))
    machine = bench.rounds[0]
    threads = machine["cores"]
    print(f"# Performance\n\n{machine['date']}; {machine['processor']}, {threads} cores; "
          f"{machine['kernels']} kernels; {machine['compiler']}; "
          f"`{command}`, medians of {bench.count} rounds.")
    print(f"PyTorch {torch.rounds[0]['torch']} with OpenBLAS-OpenMP, foreach Adam, a malloc that "
          "keeps its pages."
          if torch.rounds else "PyTorch is not installed: its columns are left out.")
    print("OpenBLAS-OpenMP's cblas_sgemm beside the matrix products." if blas.rounds else
          "No OpenBLAS is installed: its columns are left out.")
    limits(bench, threads)
    training(bench, torch, threads)
    if kann.rounds:
        small_peer(bench, kann, threads)
    convolutions(bench, torch, threads)
    programs(bench, threads)
    products(bench, blas, threads)


if __name__ == "__main__":
    main()
