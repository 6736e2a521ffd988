"""Many labellers, dropped connections and a killed server lose and double nothing."""

import pytest

from campaigns.labellers import campaign


@pytest.mark.parametrize(
    "sizes", [(5, 40, 3, 2), pytest.param((20, 2000, 3, 20), marks=pytest.mark.slow)]
)
def test_no_acknowledged_answer_is_lost_and_none_counts_twice(tmp_path, sizes):
    outcome = campaign(tmp_path, *sizes)
    assert (outcome.lost, outcome.doubled, outcome.uneven) == (0, 0, 0)
    assert outcome.kills == sizes[3] and outcome.dropped > 0
    assert outcome.acknowledged == sizes[1] * sizes[2]
