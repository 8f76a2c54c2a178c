"""Windows of one capture to packed graphs: allocates, then hands over to the compiled pass.

Nodes are numbered by first appearance inside their window, so that numbering does not depend on what the IDs are;
edges are sorted by (target, source), as message passing reads them. ``kernels_reference`` does the same readably.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from candor.ids.graphs import compiled
from candor.ids.graphs import compiled_frames as cf
from candor.ids.graphs.features import EDGE_NAMES, LOG_CLIP, NODE_NAMES, PRIOR_FRAMES
from candor.ids.graphs.packed import PackedGraphs, make_room
from candor.ids.graphs.stream import MIN_TIME_S, Relative, Stream
from candor.learn.reuse import Buffers

__all__ = ["PackedGraphs", "build_ranges", "build_windows"]

# n frames, G windows, W frames of the longest, N nodes, E edges, U distinct IDs

I64 = npt.NDArray[np.int64]

if (compiled.NODE_ORDER, compiled.EDGE_ORDER) != (NODE_NAMES, EDGE_NAMES):
    raise KeyError("the compiled kernel writes other columns than the feature table names")
_MARKS = (cf.KNOWN, cf.TIMED, cf.EARLY, cf.LATE, cf.COMPARED, cf.DLC_NEW, cf.OUTSIDE, cf.BYTES)
_REALS = (cf.LOG_RATIO, cf.DEVIATION, cf.DEVIATION_ABS, cf.ENTROPY)
if tuple(8 + at for at in _MARKS) != compiled.MARKS or compiled.REALS != _REALS:
    raise KeyError("the compiled kernel reads the marks of frames in another order than they are written")


def build_windows(
    stream: Stream, relative: Relative, start_G: I64, *, window_frames: int, min_attack_frames: int = 1
) -> PackedGraphs:
    """Graphs of the windows that begin at ``start_G``, each ``window_frames`` long and inside the stream."""
    return build_ranges(
        stream, relative, start_G, start_G + window_frames, min_attack_frames=min_attack_frames
    )


def build_ranges(
    stream: Stream,
    relative: Relative,
    start_G: I64,
    stop_G: I64,
    *,
    min_attack_frames: int = 1,
    buffers: Buffers | None = None,
) -> PackedGraphs:
    """Graphs of the windows ``[start, stop)``, of any lengths from two frames on, overlapping or not.

    Releases the GIL, so blocks of windows can be built in threads. Arrays are views of allocations for the worst case
    (every frame another ID), from ``buffers`` if given; what was not written occupies no memory.

    Raises IndexError if a window leaves the stream or has less than two frames.
    """
    start, stop = np.ascontiguousarray(start_G, np.int64), np.ascontiguousarray(stop_G, np.int64)
    width_G = stop - start
    if len(start) and (start.min() < 0 or stop.max() > len(stream) or width_G.min() < 2):
        raise IndexError(f"windows of 2 frames or more must lie inside the stream's {len(stream)} frames")
    distinct = len(stream.key_U)
    nodes = int(np.minimum(width_G, distinct).sum())
    edges = int(np.minimum(width_G - 1, distinct**2).sum())
    buffers = buffers or Buffers()
    room = make_room(len(start), nodes, edges, len(NODE_NAMES), buffers)
    scratch = _scratch(int(width_G.max(initial=2)), distinct, len(stream.attack_names), buffers)
    a, b = (int(start.min()), int(stop.max())) if len(start) else (0, 0)
    num_nodes, num_edges = compiled.pack_windows(
        _frames(stream, relative, a, b, buffers),
        compiled.Ids(stream.key_U, relative.known_U, 1.0 / relative.median_U),
        _usual(relative),
        *(start - a, stop - a, min_attack_frames, room.out, scratch),
    )
    return room.taken(num_nodes, num_edges, start, stop, stream.t_n)


def _frames(stream: Stream, relative: Relative, a: int, b: int, into: Buffers) -> compiled.Frames:
    s, here = stream, slice(a, b)
    row = relative.rows(a, b, into)
    data_n8 = row.word.view(np.uint8).reshape(b - a, 8)
    return compiled.Frames(
        *(s.t_n[here], s.code_n[here], data_n8, s.dlc_n[here], row.has_data),
        *(s.y_n[here], s.attack_n[here], row.mark, row.real),
    )


def _usual(relative: Relative) -> compiled.Usual:
    return compiled.Usual(
        *relative.usual, float(relative.profile.frames_per_s), PRIOR_FRAMES, LOG_CLIP, MIN_TIME_S
    )


def _scratch(width: int, distinct: int, families: int, into: Buffers) -> compiled.Scratch:
    nodes = max(min(width, distinct), 1)
    per_frame = ("local", "order", "trans", "leaves")
    per_node = ("code_of", "count", "begin", "into", "row", "in_edges", "out_edges", "first", "last")
    node_of_code = into.empty("node_of_code", (distinct,), np.int32)
    node_of_code.fill(-1)
    return compiled.Scratch(
        node_of_code=node_of_code,
        **{name: into.empty(name, (width,), np.uint32) for name in per_frame},
        gaps=into.empty("gaps", (max(width, 5),), np.float64),
        **{name: into.empty(name, (nodes,), np.uint32) for name in per_node},
        median=into.empty("median", (nodes,), np.float64),
        tally=into.empty("tally", (nodes, compiled.TALLIES), np.int32),
        sums=into.empty("sums", (nodes, len(compiled.REALS)), np.float64),
        votes=into.empty("votes", (families,), np.int64),
    )
