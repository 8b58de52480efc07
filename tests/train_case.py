"""Picture sets of noise, as `train.stills` writes them, for tests of fitting and export."""

import numpy as np


def write_stills(folder):
    """Write a folder of four tiles and four cut-outs, one of each held out."""
    random = np.random.default_rng(0)
    folder.mkdir()
    np.save(folder / "tiles.npy", random.integers(0, 255, (4, 3, 96, 96), np.uint8))
    things = random.integers(0, 255, (4, 4, 96, 96), np.uint8)
    things[:, 3] = 255
    np.save(folder / "cutouts.npy", things)
    rows = [f"{i}\t{split}\t1.0" for i, split in enumerate(["train", "train", "held-out", "train"])]
    for name in ("tiles", "cutouts"):
        (folder / f"{name}.tsv").write_text("\n".join(["index\tsplit\taspect", *rows]) + "\n")
    return folder
