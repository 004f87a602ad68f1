"""`python -m segmentation train|blend|export|evaluate|predict|explain|import`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from segmentation.errors import SegmentationError


def _train(args: argparse.Namespace) -> dict[str, Any]:
    from segmentation.training import Trainer, load_config

    trainer = Trainer(load_config(args.config), args.data, args.run, args.device)
    if trainer.epoch:
        print(f"goes on after epoch {trainer.epoch} of {args.run}", file=sys.stderr)
    for row in trainer.epochs():
        print(json.dumps(row), file=sys.stderr)
    return {"run": str(args.run), "epochs": trainer.epoch, "best_miou": round(trainer.best, 4)}


def _blend(args: argparse.Namespace) -> dict[str, Any]:
    from segmentation.training import load_config
    from segmentation.training.best import blend

    runs = (args.first, args.second)
    found = blend(load_config(args.config), args.data, runs, args.share, args.run, args.device)
    return {"run": str(args.run), "share": args.share, "miou": round(found.miou, 4)}


def _export(args: argparse.Namespace) -> dict[str, Any]:
    from segmentation.export import export

    manifest = export(args.run, args.name, args.out, args.photos)
    return {"name": manifest.name, "sha256": manifest.weights_sha256, "out": str(args.out)}


def _evaluate(args: argparse.Namespace) -> dict[str, Any]:
    from segmentation.evaluate import evaluate, look_in
    from segmentation.predict import Parser

    parser = Parser.load(args.weights, args.device)
    if args.scales != [1.0] or args.flip:
        look_in(parser, args.scales, args.flip)
    found = evaluate(parser, args.data, args.format, args.split or ())
    if args.out:
        found.write(args.out)
    return found.to_json()


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _predict(args: argparse.Namespace) -> dict[str, Any]:
    from segmentation.decode import decode
    from segmentation.predict import Parser

    parser = Parser.load(args.weights, args.device)
    labels = parser.manifest.labels
    args.out.mkdir(parents=True, exist_ok=True)
    found = []
    for path in args.files:
        (description,) = parser.parse([parser.prepare(decode(path))])
        target = args.out / f"{path.stem}.png"
        target.write_bytes(description.mask_png(parser.manifest.palette))
        areas = {
            name: round(float(area), 4)
            for name, area in zip(labels.classes, description.areas, strict=True)
            if area > 0
        }
        found.append(
            {
                "file": str(path),
                "mask": str(target),
                "areas": areas,
                "confidence": round(description.confidence, 4),
            }
        )
        if not args.json:
            shares = sorted(areas.items(), key=lambda item: -item[1])
            said = ", ".join(f"{name} {area:.0%}" for name, area in shares[:6])
            print(f"{path} → {target}: {said}")
    return {"predictions": found}


def _explain(args: argparse.Namespace) -> dict[str, Any]:
    from segmentation.decode import decode
    from segmentation.explain import explain, sheet
    from segmentation.predict import Parser

    stages = explain(Parser.load(args.weights, args.device), decode(args.file))
    sheet(stages).save(args.out)
    return {"out": str(args.out), "stages": {stage.key: stage.shape for stage in stages}}


def _import(args: argparse.Namespace) -> dict[str, Any]:
    from segmentation.checkpoints import ImportOptions, import_checkpoint
    from segmentation.checkpoints.certify import certify, note_parity, photographs
    from segmentation.errors import CheckpointError
    from segmentation.manifest import Manifest

    photos = photographs(args.certify, args.images) if args.certify else []
    options = ImportOptions(
        args.output_stride, args.align_corners, args.window, args.views, terms=args.terms
    )
    path = import_checkpoint(
        args.file,
        labels=args.labels,
        target_dir=args.out,
        decoder=args.decoder,
        layout=args.layout,
        name=args.name,
        sha256=args.sha256,
        options=options,
        overwrite=True,  # --out is the caller's own folder, where an import may be repeated
    )
    if photos:
        files = [file for file in (args.file, args.decoder) if file is not None]
        try:
            certify(path, files, photos, args.source)
        except CheckpointError as error:
            print(f"no parity report was made: {error}", file=sys.stderr)
    else:
        note_parity(path, {"made": False, "why": "not asked for: --certify DIR_OF_PHOTOS"})
    manifest = Manifest.load(path)
    return {
        "manifest": str(path),
        "layout": manifest.source["layout"],
        "network": manifest.network["backbone"],
        "classes": len(manifest.labels),
        "sha256": manifest.weights_sha256,
        "parity": manifest.source["parity"],
    }


def _add_import(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("file", type=Path, help="torch checkpoint or safetensors; never executed")
    sub.add_argument("--decoder", type=Path, help="second file of CSAIL's layout")
    sub.add_argument("--layout", default="auto", help="auto, mmseg, semseg, csail, bubbliiiing")
    sub.add_argument("--labels", required=True, help="label set, such as ade20k or cityscapes")
    sub.add_argument("--name", help="what the weights are called; default: the file's name")
    sub.add_argument("--out", type=Path, default=Path("weights"), help="folder of the two files")
    sub.add_argument("--sha256", help="digest that the file must have")
    sub.add_argument("--output-stride", type=int, choices=[8, 16, 32], help="no key tells it")
    sub.add_argument("--align-corners", action=argparse.BooleanOptionalAction)
    sub.add_argument("--window", type=int, metavar="PX", help="side of a sliding window; 0: none")
    sub.add_argument(
        "--views",
        default="published",
        choices=["published", "single", "multi"],
        help="as its authors test it, one pass, or six sizes and mirror images",
    )
    sub.add_argument("--terms", default="", help="under which terms the weights may be used")
    sub.add_argument("--certify", type=Path, metavar="DIR", help="compare on these photographs")
    sub.add_argument("--images", type=int, default=20, help="how many of them")
    sub.add_argument("--source", type=Path, help="folder of the publisher's code, for --certify")


def build_parser() -> argparse.ArgumentParser:
    """The command line; every command takes `--json`."""
    parser = argparse.ArgumentParser("python -m segmentation", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help)
        sub.set_defaults(run_command=run)
        sub.add_argument("--json", action="store_true", help="print one JSON object at the end")
        sub.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
        return sub

    sub = command("train", _train, "train a network as a TOML file describes it; resumes")
    sub.add_argument("config", type=Path)
    sub.add_argument("--data", type=Path, required=True, help="folder of the labelled sets")
    sub.add_argument("--run", type=Path, required=True, help="folder of the run; see docs")

    sub = command("blend", _blend, "a network between a run and one that went on from it")
    sub.add_argument("config", type=Path)
    sub.add_argument("first", type=Path, help="folder of the first run: its best weights")
    sub.add_argument("second", type=Path, help="folder of the second run: its last weights")
    sub.add_argument("--share", type=float, required=True, help="of the second, 0 to 1")
    sub.add_argument("--data", type=Path, required=True, help="folder of the labelled sets")
    sub.add_argument("--run", type=Path, required=True, help="folder that becomes a run's")

    sub = command("export", _export, "make a run's best state into weights with a manifest")
    sub.add_argument("run", type=Path)
    sub.add_argument("--name", required=True)
    sub.add_argument("--out", type=Path, required=True)
    sub.add_argument("--photos", type=Path, required=True, help="pictures to fit the whitening on")

    sub = command("evaluate", _evaluate, "mIoU over labelled pictures, searched recursively")
    sub.add_argument("--data", type=Path, required=True)
    sub.add_argument("--weights", default="starter", help="name, or path of a manifest")
    sub.add_argument("--format", default="folder", help="folder, ade20k, cityscapes, voc, …")
    sub.add_argument("--split", action="append", help="of the data set; more than once for more")
    sub.add_argument("--scales", type=_numbers, default=[1.0], help="such as 0.5,0.75,1")
    sub.add_argument("--flip", action="store_true", help="average with mirror images")
    sub.add_argument("--out", type=Path, help="folder for figures and pictures")

    sub = command("predict", _predict, "write class maps of pictures as palette PNGs")
    sub.add_argument("files", type=Path, nargs="+")
    sub.add_argument("--weights", default="starter", help="name, or path of a manifest")
    sub.add_argument("--out", type=Path, default=Path("masks"))

    sub = command("explain", _explain, "draw how a picture was parsed, stage by stage")
    sub.add_argument("file", type=Path)
    sub.add_argument("--weights", default="starter", help="name, or path of a manifest")
    sub.add_argument("-o", "--out", type=Path, default=Path("sheet.png"))

    _add_import(command("import", _import, "make a published PSPNet's checkpoint into weights"))
    return parser


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0, or 2 with one line on standard error for anything the user can mend."""
    args = build_parser().parse_args(argv)
    try:
        result = args.run_command(args)
    except (SegmentationError, OSError) as error:
        print(f"segmentation: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("segmentation: stopped", file=sys.stderr)
        return 130
    if args.json:
        print(json.dumps(result))
    elif "predictions" not in result:
        print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
