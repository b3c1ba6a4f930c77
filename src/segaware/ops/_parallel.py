"""How Numba kernels are compiled and run in parallel: on torch's own OpenMP threads.

A second thread pool beside torch's (Numba's, or Python's) would have to share the cores with torch's workers, which
spin for milliseconds after each of torch's own parallel regions. So kernels run as an OpenMP region of the runtime
that torch has already loaded. A kernel is a function `body(task, thread, *args)`; whoever is free takes the next task,
and since a task owns what it writes, the result does not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding
import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from segaware.ops._kernel_cache import KernelCache
from segaware.ops._kernel_parts import PartCompiler

_LOGGER = logging.getLogger(__name__)
_OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}


def jit(function: Callable[..., Any]) -> Any:
    """Compile a function as a part of the kernels that call it. Python cannot: that would end the process."""
    return numba.njit(**_OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True, pipeline_class=PartCompiler)(function)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile what Python calls, at the first call; keep the machine code on disk if a folder can be written for it."""
    kernel = numba.njit(**_OPTIONS, no_cfunc_wrapper=True)(function)
    try:
        kernel._cache = KernelCache(function)  # what njit does with cache=True, but for the class
    except RuntimeError:  # "no locator available": neither the package's folder nor the user's cache can be written
        _log_no_cache()
    return kernel


@functools.cache
def _log_no_cache() -> None:
    """Tell the log once, for there are many kernels."""
    _LOGGER.info("kernels are compiled anew in every process: no folder can be written to keep their machine code in")


_REGION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_LAUNCH = ctypes.CFUNCTYPE(None, _REGION, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)


def _openmp_launch() -> int | None:
    """Return the address of GOMP_parallel in the OpenMP runtime that torch has loaded (GNU's and LLVM's have it)."""
    root = Path(torch.__file__).parent
    bundled = [path for folder in (root / "lib", root.parent / "torch.libs") for path in folder.glob("lib*omp*")]
    for name in [*map(str, sorted(bundled)), "libgomp.so.1", "libiomp5.so", "libomp.so"]:
        try:
            # Only what is loaded already: a second runtime is what this is here to avoid.
            runtime = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
            return ctypes.cast(runtime.GOMP_parallel, ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue
    return None


@_LAUNCH
def _python_launch(region: Callable[[int], None], data: int, threads: int, flags: int) -> None:
    """Run a region on Python threads, for a torch whose OpenMP runtime cannot be called."""
    others = [threading.Thread(target=region, args=(data,)) for _ in range(threads - 1)]
    for thread in others:
        thread.start()
    region(data)
    for thread in others:
        thread.join()


OPENMP = _openmp_launch()
llvmlite.binding.add_symbol("segaware_launch", OPENMP or ctypes.cast(_python_launch, ctypes.c_void_p).value)

_forked = False


def _mark_forked() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mark_forked)


def thread_count() -> int:
    """Return how many threads kernels use: torch's number; one in a forked child, where OpenMP has lost its threads."""
    return 1 if _forked else torch.get_num_threads()


def description() -> str:
    """Say on which threads kernels run, and where their machine code is kept."""
    threads = "torch's OpenMP threads" if OPENMP else "Python threads, for no OpenMP runtime of torch's was found"
    folder = kernel(flat).stats.cache_path  # asked of any function of this package; it is not compiled
    kept = f"kept in {folder}" if folder else "not kept, for no folder can be written"
    return f"{thread_count()} of {threads}; compiled at the first call, {kept}"


def flat(tensor: Tensor) -> np.ndarray:
    """Return the elements as the one-dimensional NumPy array that kernels take: a view if they are contiguous."""
    return tensor.reshape(-1).contiguous().numpy(force=True)


def record(numbers: NamedTuple) -> Any:
    """Return whole numbers as what kernels know by a pointer.

    Numba makes an argument of every function, and of all its calls, of each number of a tuple: that takes half as long
    again to compile.
    """
    return np.array(tuple(numbers), _record_type(type(numbers)))[()]


@functools.cache
def _record_type(numbers: Any) -> np.dtype:
    return np.dtype([(name, np.int64) for name in numbers._fields])


@intrinsic
def parallel_for(typing_context: Any, body: Any, threads: Any, tasks: Any, arguments: Any) -> Any:
    """Call the jitted `body(task, thread, *arguments)` for each task of range(tasks), on up to `threads` threads.

    `thread`, from 0 to threads - 1, is for choosing scratch memory; no two tasks run on one at the same time. Every
    thread has a share of neighbouring tasks, so that threads seldom write to the same page of memory, and when it has
    done them takes what is left of the others' shares.
    """
    body_signature = body.get_call_type(typing_context, (types.intp, types.intp, *arguments.types), {})
    integer = ir.IntType(64)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        compiled = body.dispatcher.get_compile_result(body_signature)
        context.active_code_library.add_linking_library(compiled.library)
        region_type = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t])
        region = ir.Function(builder.module, region_type, builder.module.get_unique_name("segaware_region"))
        region.linkage = "internal"
        # counters: how many tasks of every share have begun, and how many threads
        shared_type = ir.LiteralStructType([integer.as_pointer(), integer, integer, values[3].type])

        inside = ir.IRBuilder(region.append_basic_block())
        shared = inside.load(inside.bitcast(region.args[0], shared_type.as_pointer()))
        counters, threads, tasks, arguments = (inside.extract_value(shared, i) for i in range(4))

        def begin(counter: Any) -> Any:
            return inside.atomic_rmw("add", inside.gep(counters, [counter]), integer(1), "monotonic")

        def first_task(share: Any) -> Any:
            return inside.sdiv(inside.mul(share, tasks), threads)

        thread = begin(threads)
        with cgutils.for_range(inside, threads) as loop:
            share = inside.srem(inside.add(thread, loop.index), threads)
            first, stop = first_task(share), first_task(inside.add(share, integer(1)))
            claim, work, done = (region.append_basic_block() for _ in range(3))
            inside.branch(claim)
            inside.position_at_end(claim)
            task = inside.add(first, begin(share))
            inside.cbranch(inside.icmp_signed("<", task, stop), work, done)
            inside.position_at_end(work)
            context.call_conv.call_function(
                inside,
                context.declare_function(builder.module, compiled.fndesc),
                body_signature.return_type,
                body_signature.args,
                [task, thread, *cgutils.unpack_tuple(inside, arguments)],
            )
            inside.branch(claim)
            inside.position_at_end(done)
        inside.ret_void()

        _, threads_outside, tasks_outside, arguments_outside = values
        size = builder.add(threads_outside, integer(1))
        counters_outside = builder.alloca(integer, size)
        cgutils.memset(builder, counters_outside, builder.mul(size, integer(8)), 0)
        data = cgutils.alloca_once(builder, shared_type)
        for i, value in enumerate((counters_outside, threads_outside, tasks_outside, arguments_outside)):
            builder.store(value, cgutils.gep_inbounds(builder, data, 0, i))
        pointer, count = builder.bitcast(data, cgutils.voidptr_t), ir.IntType(32)
        launch_type = ir.FunctionType(ir.VoidType(), [region_type.as_pointer(), cgutils.voidptr_t, count, count])
        launch = cgutils.get_or_insert_function(builder.module, launch_type, "segaware_launch")
        with builder.if_else(builder.icmp_signed(">", threads_outside, integer(1))) as (parallel, serial):
            with parallel:
                builder.call(launch, [region, pointer, builder.trunc(threads_outside, count), count(0)])
            with serial:
                builder.call(region, [pointer])
        return context.get_dummy_value()

    return types.void(body, types.intp, types.intp, arguments), codegen
