#!/usr/bin/python3
"""Reads what python_files.c wrote and compares it.

    python_files.py plain FOLDER     the safetensors file, by examples/own/plain_safetensors.py
    python_files.py numpy FOLDER     the arrays and archives, by NumPy
"""
import os
import sys
import zipfile

SHAPES = {"f32": (2, 3), "f64": (2, 2, 2), "i64": (5,), "u8": (3, 1), "bool": (1, 4),
          "scalar": (), "empty": (0, 3), "long": (1000, 3)}
DTYPES = {"f32": "float32", "f64": "float64", "i64": "int64", "u8": "uint8", "bool": "bool",
          "scalar": "float64", "empty": "float32", "long": "float32"}


def expected(name):
    """The elements, the last index running fastest."""
    count = 1
    for size in SHAPES[name]:
        count *= size
    if DTYPES[name].startswith("float"):
        return [i / 2 - 1 for i in range(count)]
    return [i - 2 if name == "i64" else i % 2 for i in range(count)]


def plain(folder):
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    sys.path.insert(0, os.path.join(root, "examples", "own"))
    sys.dont_write_bytecode = True
    from plain_safetensors import read_safetensors
    read = read_safetensors(os.path.join(folder, "all.safetensors"))
    assert set(read) == set(SHAPES), sorted(read)
    for name, (shape, numbers) in read.items():
        assert tuple(shape) == SHAPES[name], (name, shape)
        assert numbers.tolist() == expected(name), name


def numpy(folder):
    import numpy as np

    def check(name, x):
        assert x.shape == SHAPES[name] and x.dtype == DTYPES[name], (name, x.shape, x.dtype)
        assert x.reshape(-1).tolist() == expected(name), name

    for name in SHAPES:
        check(name, np.load(os.path.join(folder, name + ".npy")))
    archives = [name for name in os.listdir(folder) if name.endswith(".npz")]
    assert "stored.npz" in archives, archives
    for archive in archives:
        path = os.path.join(folder, archive)
        assert zipfile.ZipFile(path).testzip() is None, archive
        arrays = np.load(path)
        assert arrays.files == list(SHAPES), arrays.files
        for name in arrays.files:
            check(name, arrays[name])


{"plain": plain, "numpy": numpy}[sys.argv[1]](sys.argv[2])
