"""The same files from every backend of joblib: Dask over TCP, Ray. A worker that is killed costs nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import soundfile
import talkers
from test_corpus import outputs, run, talks, without_times  # noqa: F401 (a fixture)
from test_parts import noise

import npwhisper

joblib = pytest.importorskip("joblib", reason="pip install npwhisper[corpus]")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the clusters warn of their own libraries


@contextmanager
def dask_cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, protocol="tcp://", dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config(backend="dask", wait_for_workers_timeout=60),
    ):
        yield client


@contextmanager
def ray_cluster() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    register_ray()
    try:
        with joblib.parallel_config(backend="ray"):
            yield ray
    finally:
        ray.shutdown()


@pytest.fixture
def model() -> npwhisper.Whisper:
    return talkers.talker(talkers.ENGLISH)


@pytest.fixture(params=[None, 2])
def batch_size(request: pytest.FixtureRequest, talks: Path, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: F811
    """Without batches; and with groups of short recordings, beside a long one in parts."""
    monkeypatch.setattr("npwhisper.whisper.corpus.run.PART", 3000)
    soundfile.write(talks / "long.flac", noise(95), 16000)
    return request.param


@pytest.mark.parametrize("cluster", [dask_cluster, ray_cluster])
def test_a_cluster_gives_the_same_files(
    cluster: Any,
    batch_size: int | None,
    talks: Path,  # noqa: F811
    tmp_path: Path,
    model: npwhisper.Whisper,
) -> None:
    run(talks, tmp_path / "here", model, n_jobs=1, batch_size=batch_size)
    with cluster():
        run(talks, tmp_path / "there", model, n_jobs=2, batch_size=batch_size)
    assert outputs(tmp_path / "here") == outputs(tmp_path / "there") != {}
    assert without_times(tmp_path / "here") == without_times(tmp_path / "there")


def test_a_worker_killed_in_the_middle_costs_nothing(
    batch_size: int | None,
    talks: Path,  # noqa: F811
    tmp_path: Path,
    model: npwhisper.Whisper,
) -> None:
    run(talks, tmp_path / "here", model, n_jobs=1, batch_size=batch_size)
    killed = list[int]()
    with dask_cluster() as client:
        pids = client.run(os.getpid)

        def kill_one(entry: dict[str, Any]) -> None:
            if not killed:
                killed.append(next(iter(pids.values())))
                os.kill(killed[0], signal.SIGKILL)

        run(talks, tmp_path / "there", model, n_jobs=2, batch_size=batch_size, progress=kill_one)
    assert killed
    assert outputs(tmp_path / "here") == outputs(tmp_path / "there") != {}
    assert without_times(tmp_path / "here") == without_times(tmp_path / "there")
