import numpy as np

from candor.learn.reuse import BufferPool


def test_memory_is_used_again_once_nobody_refers_to_it_and_not_before() -> None:
    pool = BufferPool(2)
    buffers = pool.take()
    view = buffers.empty("x", (10, 3), np.float32)[2:4]
    at = buffers.empty("x", (10, 3), np.float32).ctypes.data
    pool.give(buffers)
    assert pool.take() is not buffers  # A view of the array is alive.
    del view
    again = pool.take()
    assert again is buffers
    assert again.empty("x", (5,), np.float32).ctypes.data == at


def test_larger_arrays_and_other_types_get_memory_of_their_own() -> None:
    buffers = BufferPool(1).take()
    small = buffers.empty("x", (4,), np.int64)
    small[:] = 7
    for other in (buffers.empty("x", (400,), np.int64), buffers.empty("x", (4,), np.uint8)):
        other[:] = 0
    assert (small == 7).all()
