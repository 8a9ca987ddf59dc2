"""Reads and writes safetensors files with Python alone."""
import array
import json

CODES = {"F32": "f", "F64": "d", "I64": "q", "U8": "B", "BOOL": "B"}


def read_safetensors(path):  # {name: (shape, numbers)}
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    header.pop("__metadata__", None)
    return {name: (x["shape"], array.array(CODES[x["dtype"]], data[slice(*x["data_offsets"])]))
            for name, x in header.items()}


def write_safetensors(path, tensors, metadata):  # tensors as read_safetensors returns them
    header, data = {"__metadata__": metadata}, b""
    for name, (shape, numbers) in tensors.items():
        dtype = next(dtype for dtype, code in CODES.items() if code == numbers.typecode)
        begin = len(data)
        data += numbers.tobytes()
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + data)
