"""`python -m segmentation.scenes`: pictures and masks into a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from segmentation.scenes import render


def main() -> None:
    """`python -m segmentation.scenes --count 150 --out DIR --seed 0` writes NAME.jpg and NAME.png."""
    parser = argparse.ArgumentParser("python -m segmentation.scenes", description=main.__doc__)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in tqdm(range(args.seed, args.seed + args.count), "rendering", unit="image"):
        scene = render(seed)
        name = scene.title.replace(" ", "-")
        Image.fromarray(scene.image).save(args.out / f"{name}.jpg", quality=92)
        Image.fromarray(scene.mask).save(args.out / f"{name}.png")


if __name__ == "__main__":
    main()
