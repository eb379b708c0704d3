"""What every test of a released text ends with."""


def idle(engine) -> bool:
    """Whether nothing runs, nothing waits and all pages are free."""
    stats = engine.stats()
    return stats.pages_free == stats.pages_total and stats.running == stats.waiting == 0
