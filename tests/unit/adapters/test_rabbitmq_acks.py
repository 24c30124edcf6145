from hypothesis import given
from hypothesis import strategies as st

from worker.adapters.rabbitmq_acks import grouped


@given(st.data())
def test_acks_cover_what_is_done_and_nothing_that_is_in_hand(data: st.DataObject) -> None:
    """Played against a broker: it knows what has no ack, and takes everything up to a tag when told so."""
    unacked = set(range(1, data.draw(st.integers(1, 30)) + 1))
    while unacked:
        done = data.draw(st.permutations(sorted(data.draw(st.sets(st.sampled_from(sorted(unacked)), min_size=1)))))
        in_hand = unacked - set(done)
        acks = grouped(list(done), oldest_in_hand=min(in_hand, default=None))
        for tag, is_multiple in acks:
            assert tag in unacked, "the broker ends a channel for a tag that it does not know"
            unacked -= {each for each in unacked if each <= tag} if is_multiple else {tag}
        assert unacked == in_hand


def test_a_whole_group_that_nothing_is_in_hand_before_is_one_ack() -> None:
    assert grouped([5, 4, 7, 6], oldest_in_hand=None) == [(7, True)]
    assert grouped([5, 4, 9, 6], oldest_in_hand=8) == [(6, True), (9, False)]
    assert grouped([9, 10], oldest_in_hand=8) == [(9, False), (10, False)]
    assert grouped([4, 9], oldest_in_hand=5) == [(4, False), (9, False)]
