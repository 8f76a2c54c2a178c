"""Files that lie beside captures and are none, told by name: signal databases and network flows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from candor.errors import SchemaMismatch

_DBC = re.compile(r"^(BO_ \d+ |BU_:|NS_ ?:|VERSION \")")

#: Column names (lower case, stripped) that occur in flow tables only: UNSW-NB15, CICIDS2017, CTU-13, NetFlow v2, Zeek.
_FLOW_COLUMNS: Final = frozenset(
    {
        "srcip",
        "sport",
        "dsport",
        "flow id",
        "flow duration",
        "total fwd packets",
        "srcaddr",
        "dstaddr",
        "ipv4_src_addr",
        "l4_src_port",
        "id.orig_h",
        "id.resp_h",
    }
)
_ADDRESS = re.compile(r"^\d{1,3}(\.\d{1,3}){3}$")


def refuse(head: list[str], place: str) -> None:
    """Raise SchemaMismatch if the first lines are those of a file that is no capture."""
    if any(_DBC.match(line) for line in head):
        raise SchemaMismatch(
            "a DBC signal database, not a capture",
            place=place,
            hint="Leave it out; it names signals, not frames.",
        )
    fields = [field.strip() for field in head[0].split(",")]
    headerless = len(fields) > 40 and bool(_ADDRESS.match(fields[0])) and bool(_ADDRESS.match(fields[2]))
    if headerless or is_flow_table(fields):
        raise SchemaMismatch(
            "network flows, not CAN frames", place=place, hint="Add it as a flow dataset: `candor data add`."
        )


def is_flow_table(columns: Iterable[str]) -> bool:
    """Whether two or more columns are known from flow tables only."""
    return len({name.strip().lower() for name in columns} & _FLOW_COLUMNS) >= 2
