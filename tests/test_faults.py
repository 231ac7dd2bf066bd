"""Each fault alone, and all of them in a long random mix: the store equals the truth, the ledger equals the holes."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.faults import FAULTS, check, finish, recorded_scene


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fault_the_store_equals_the_truth(tmp_path: Path, fault: str) -> None:
    with recorded_scene(tmp_path, 7, 20_000) as (scene, recording, url):
        scene.go(60)
        FAULTS[fault](scene)
        scene.go(60)
        finish(scene, recording, url)
        check(scene, url)


@pytest.mark.parametrize(
    ("seed", "faults", "redundancy"),
    [
        (1, 40, 1),
        (2, 30, 2),
        pytest.param(3, 300, 1, marks=[pytest.mark.soak, pytest.mark.timeout(600)]),
        pytest.param(4, 300, 2, marks=[pytest.mark.soak, pytest.mark.timeout(600)]),
    ],
)
def test_after_a_mix_of_faults_the_store_equals_the_truth(
    tmp_path: Path, seed: int, faults: int, redundancy: int
) -> None:
    rng = Random(seed)
    with recorded_scene(tmp_path, seed, 100 * faults + 20_000, "--redundancy", str(redundancy)) as (scene, recording, url):
        scene.go(60)
        for _ in range(faults):
            FAULTS[rng.choice(list(FAULTS))](scene)
            scene.go(rng.randrange(1, 40))
        finish(scene, recording, url)
        check(scene, url)
        assert_polite(scene.server.log.seen)


def assert_polite(seen: list[object]) -> None:
    """At most three connects in any second."""
    times = [one.at for one in seen if one.kind == "connect"]  # type: ignore[attr-defined]
    assert all(later - earlier >= 1.0 for earlier, later in zip(times, times[3:], strict=False))
