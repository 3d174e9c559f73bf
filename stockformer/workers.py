"""Run a model over many chunks of data: in this process, in worker processes, or on a Dask cluster."""

from __future__ import annotations

import io
import multiprocessing
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from functools import cache, partial
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import torch
from torch import nn
from tqdm.auto import tqdm

from stockformer.steps import Steps, each_inside, part_of, run_to_end
from stockformer.threads import few_threads, one_thread

if TYPE_CHECKING:
    from distributed import Client

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")
#: None for this process, a number of worker processes, or a `dask.distributed.Client`.
Engine: TypeAlias = "int | Client | None"
#: Chunks on their way to each worker, so that it never waits for this process.
_AHEAD = 2
#: Pools that may break one after another without a chunk done in between.
_BROKEN_POOLS = 3


def run_chunks(
    work: Callable[[nn.Module, Chunk], Result],
    model: nn.Module,
    chunk_of: Callable[[int], Chunk],
    places: Sequence[int],
    engine: Engine = None,
) -> Generator[tuple[int, Result]]:
    """Yield ``place, work(model, chunk_of(place))`` for every place, in the order in which they are done.

    Every chunk is computed by one thread of one process, so results have the same bits with every engine on the
    same kind of device. The model and the work travel to each worker once. A chunk whose worker dies is computed again.

    Args:
        work: a function, which may hold data that every chunk needs.
        chunk_of: makes the data of a place, in this process, shortly before a worker needs it.
        engine: see `Engine`; a client's workers need this package in the same version.

    Raises:
        RuntimeError: workers die again and again.
        ConnectionError: the connection to the cluster's scheduler is lost.
        Exception: what `check_engine` raises.
    """
    check_engine(engine)
    if engine is None:
        return _in_this_process(work, model, chunk_of, places)
    if isinstance(engine, int):
        return _in_processes(work, model, chunk_of, places, engine)
    return _on_cluster(work, model, chunk_of, places, engine)


def check_engine(engine: Engine) -> None:
    """Raise unless the engine can run chunks.

    Raises:
        ValueError: a number of workers below 1.
        TypeError: another engine.
        RuntimeError: a cluster has no workers, or they lack the package or have another version of it.
    """
    if engine is None:
        return
    if isinstance(engine, int):
        if engine < 1:
            raise ValueError(f"engine is {engine}, expected at least 1 worker process")
    elif type(engine).__module__.partition(".")[0] == "distributed":
        _check_workers(engine)
    else:
        raise TypeError(
            f"engine is {type(engine).__name__}, "
            "expected None, a number of worker processes, or a dask.distributed.Client"
        )


def run_in_order(
    work: Callable[[nn.Module, Chunk], Result],
    model: nn.Module,
    chunk_of: Callable[[int], Chunk],
    chunks: int,
    engine: Engine = None,
) -> Iterator[Result]:
    """`run_chunks` for the places from 0, in their order."""
    return _in_order(run_chunks(work, model, chunk_of, range(chunks), engine))


def _in_order(results: Generator[tuple[int, Result]]) -> Iterator[Result]:
    """Results by place from 0; one that comes early waits for those before it."""
    waiting: dict[int, Result] = {}
    following = 0
    with closing(results):
        for place, result in results:
            waiting[place] = result
            while following in waiting:
                yield waiting.pop(following)
                following += 1


def chunk_steps(
    work: Callable[[nn.Module, Chunk], Steps[Result]],
    model: nn.Module,
    chunk_of: Callable[[int], Chunk],
    chunks: int,
    engine: Engine = None,
) -> Steps[list[Result]]:
    """The results of `run_in_order` for work in steps: one step per chunk, and in this process each step of the work.

    A single chunk in this process may use the threads that `few_threads` leaves the model.
    """
    results: list[Result] = []
    if engine is None:
        threads = partial(few_threads, model) if chunks == 1 else one_thread
        for place in range(chunks):
            steps = each_inside(threads, work(model, chunk_of(place)))
            results.append((yield from part_of(steps, place, chunks)))
    else:
        for result in run_in_order(partial(_to_the_end, work), model, chunk_of, chunks, engine):
            results.append(result)
            yield len(results) / chunks
    return results


def _to_the_end(work: Callable[[nn.Module, Chunk], Steps[Result]], model: nn.Module, chunk: Chunk) -> Result:
    return run_to_end(work(model, chunk), "", progress=False)


def _in_this_process(
    work: Callable[[nn.Module, Chunk], Result],
    model: nn.Module,
    chunk_of: Callable[[int], Chunk],
    places: Sequence[int],
) -> Generator[tuple[int, Result]]:
    for place in places:
        chunk = chunk_of(place)
        with one_thread():
            result = work(model, chunk)
        yield place, result


def _in_processes(
    work: Callable[[nn.Module, Chunk], Result],
    model: nn.Module,
    chunk_of: Callable[[int], Chunk],
    places: Sequence[int],
    workers: int,
) -> Generator[tuple[int, Result]]:
    packed, left, broken = _packed(model, work), list(places), 0
    context = _context()
    while left:
        pool = ProcessPoolExecutor(workers, context, initializer=_start_process, initargs=(packed,))
        try:
            with pool, _ended_by_ctrl_c(), closing(_in_executor(chunk_of, left, pool, workers)) as results:
                # In a thread, which Ctrl+C does not interrupt: a process that is left half started prints a traceback.
                with ThreadPoolExecutor(1) as starter:
                    list(starter.map(pool.submit, [int] * workers))
                for place, result in results:
                    left, broken = [one for one in left if one != place], 0
                    yield place, result
        except BrokenProcessPool:
            broken += 1
            if broken == _BROKEN_POOLS:
                raise RuntimeError(
                    f"worker processes died {broken} times in a row before any chunk was done: there may be too little "
                    "memory, or the script that starts them lacks `if __name__ == '__main__':`"
                ) from None


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """Terminate the processes that start inside when Ctrl+C comes: a chunk may take a minute."""
    others = multiprocessing.active_children()
    try:
        yield
    except KeyboardInterrupt:
        for process in set(multiprocessing.active_children()) - set(others):
            process.terminate()
        raise


def _context() -> BaseContext:
    """How worker processes start: from one that has imported what they need, where the system has such a thing."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stockformer.explainability"])
    resource_tracker.ensure_running()  # the server starts it otherwise, and it unblocks the signal
    # Ctrl+C stops this process alone: the server, which imports for seconds, would print a traceback.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _on_cluster(
    work: Callable[[nn.Module, Chunk], Result],
    model: nn.Module,
    chunk_of: Callable[[int], Chunk],
    places: Sequence[int],
    client: Client,
) -> Generator[tuple[int, Result]]:
    from distributed import WorkerPlugin

    packed = _packed(model, work)

    class WorkPlugin(WorkerPlugin):
        """Gives the model and the work to every worker, those that join later included."""

        name = "stockformer-work"

        def setup(self, worker: Any) -> None:
            _receive(packed)

    address = client.scheduler.address
    client.register_plugin(WorkPlugin())
    workers = sum(client.nthreads().values())
    try:
        with client.get_executor(pure=False) as executor:
            yield from _in_executor(chunk_of, list(places), executor, workers)
    except Exception:
        if client.status == "running":
            raise
        raise ConnectionError(f"the connection to the scheduler {address} is lost") from None
    finally:
        if client.status == "running":
            client.unregister_worker_plugin(WorkPlugin.name)


def _in_executor(
    chunk_of: Callable[[int], Any], places: Sequence[int], executor: Executor, workers: int
) -> Generator[tuple[int, Any]]:
    """The results of an executor's workers, with few chunks in memory at a time."""
    waiting, pending = list(reversed(places)), dict[Future[Any], int]()
    try:
        while waiting or pending:
            while waiting and len(pending) < _AHEAD * workers:
                place = waiting.pop()
                pending[executor.submit(_work_in_worker, chunk_of(place))] = place
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in [one for one in pending if one in done]:  # `done` has no order
                yield pending.pop(future), future.result()
    finally:
        for future in pending:
            future.cancel()


#: The model and the work of this worker, as bytes until the first chunk comes.
_packed_work: bytes = b""


def _start_process(packed: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C stops the process that waits for this one
    tqdm.set_lock(threading.RLock())  # that of all processes is left behind by one that is terminated
    _receive(packed)


def _receive(packed: bytes) -> None:
    global _packed_work
    _packed_work = packed
    _unpacked.cache_clear()


@cache
def _unpacked() -> tuple[nn.Module, Callable[[nn.Module, Any], Any]]:
    model, work = torch.load(io.BytesIO(_packed_work), weights_only=False)
    return model, work


def _packed(model: nn.Module, work: Callable[..., Any]) -> bytes:
    """A model and work as bytes, with their code where that is of a notebook, which workers cannot import."""
    import cloudpickle

    buffer = io.BytesIO()
    torch.save((model, work), buffer, pickle_module=cloudpickle)
    return buffer.getvalue()


def _work_in_worker(chunk: Any) -> Any:
    model, work = _unpacked()
    with one_thread():
        return work(model, chunk)


def _check_workers(client: Client) -> None:
    """Raise RuntimeError unless every worker has this package, and torch, in the versions of this process."""
    versions = client.run(_versions, on_error="return")
    if not versions:
        raise RuntimeError("the cluster has no worker")
    here = _versions()
    for worker, answer in versions.items():
        if isinstance(answer, ModuleNotFoundError):
            raise RuntimeError(f"worker {worker} lacks the package {answer.name}")
        if isinstance(answer, BaseException):
            raise RuntimeError(f"worker {worker} does not answer: {answer}")
        if answer != here:
            raise RuntimeError(f"worker {worker} has {_listed(answer)}, this process {_listed(here)}")


def _versions() -> dict[str, str]:
    import stockformer

    return {"stockformer": stockformer.__version__, "torch": torch.__version__}


def _listed(versions: dict[str, str]) -> str:
    return " and ".join(f"{name} {version}" for name, version in versions.items())
