"""Judging layouts by ground truth: agreement of masks, graded relevance, nDCG."""

from __future__ import annotations

import json

import numpy as np
import pytest
from django.core.management import call_command

from workers.layout_evaluation import agreement, cell_shares, levels_of, ndcg


def masks():
    halves = np.zeros((64, 64), np.uint8)
    halves[32:] = 1
    left = np.full((64, 64), 255, np.uint8)
    left[:, :32] = 0
    return [halves, halves[::-1].copy(), left]


def test_agreement_counts_cells_by_what_is_labelled_in_both():
    shares, labelled = zip(*(cell_shares(mask, 3) for mask in masks()), strict=True)
    found = agreement(np.stack(shares), np.stack(labelled))
    assert np.allclose(found, found.T) and np.allclose(np.diag(found), 1)
    assert found[0, 1] == 0  # upside down: nothing is in its place
    assert abs(found[0, 2] - 0.5) < 1e-6  # of the labelled left half, the upper part agrees
    assert levels_of(np.array([0.0, 0.2, 0.55, 0.99, 1.0])).tolist() == [0, 1, 2, 4, 4]


def test_ndcg_is_one_for_the_ideal_order_and_follows_its_definition():
    rng = np.random.default_rng(0)
    truth = rng.random((30, 30)).astype(np.float32)
    levels = levels_of(truth)
    assert abs(ndcg(truth, levels) - 1) < 1e-9
    similarity = rng.random((30, 30)).astype(np.float32)
    values = []
    for i in range(30):
        others = [j for j in range(30) if j != i]
        gains = {j: 2.0 ** levels[i, j] - 1 for j in others}
        ranked = sorted(others, key=lambda j: -similarity[i, j])[:10]
        dcg = sum(gains[j] / np.log2(place + 2) for place, j in enumerate(ranked))
        best = sorted(gains.values(), reverse=True)[:10]
        values.append(dcg / sum(g / np.log2(place + 2) for place, g in enumerate(best)))
    assert abs(ndcg(similarity, levels) - np.mean(values)) < 1e-9


@pytest.mark.django_db
def test_layout_beats_chance_and_colour_on_real_masks(shared_data, tmp_path, capsys):
    for path in sorted((shared_data / "segmentation" / "msrc" / "val").iterdir())[:36]:
        (tmp_path / path.name).symlink_to(path)
    call_command("evaluate", "layout", data=tmp_path, json=True)
    answer = json.loads(capsys.readouterr().out)
    assert answer["images"] == 18
    assert answer["ndcg_at_10"] > answer["baselines"]["colour_histogram"]
    assert answer["ndcg_at_10"] > answer["baselines"]["random"] + 0.1
