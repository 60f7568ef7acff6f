"""Each cell's group, in obs of the cells."""

from __future__ import annotations

import pandas as pd

from c2sflow.common.errors import UserError

GROUP, PLACE = "c2s_group", "c2s_group_place"


def add_groups(obs: pd.DataFrame, own: pd.DataFrame | None, sample: str) -> pd.DataFrame:
    """A sample's obs with c2s_group and c2s_group_place, missing for cells in no group.

    Parameters
    ----------
    own
        Columns group and place by cell_id; None without groups: then obs as it is.

    Raises
    ------
    UserError
        If a member is no cell of the sample.
    """
    if own is None:
        return obs
    if len(foreign := own.index.difference(obs.index)):
        raise UserError(f"sample {sample}: groups hold {foreign[0]!r}, which is none of its cells")
    own = own.reindex(obs.index)
    place = own["place"].astype("Int32")
    return obs.assign(**{GROUP: own["group"].astype("category"), PLACE: place})
