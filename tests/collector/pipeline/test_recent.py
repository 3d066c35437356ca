from collector.pipeline.recent import Recent


def test_the_last_are_remembered_and_no_more_than_twice_as_many() -> None:
    recent: Recent[int, str] = Recent(10)
    for n in range(100):
        recent.put(n, str(n))
        remembered = [k for k in range(n + 1) if recent.get(k) == str(k)]
        assert set(range(max(0, n - 9), n + 1)) <= set(remembered)
        assert len(remembered) <= 20


def test_the_later_value_counts() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)  # both are old now
    recent.put("a", 3)
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (3, 2, None)
