"""The benchmark harness of `draftwood bench`: ours and peers in turn, answers checked before anything is timed.

| file | holds |
|---|---|
| `worker.py` | an arm's process, in any Python environment |
| `arm.py` | the parent's side of it: start, wake, ask, stop, end |
| `cases.py`, `peers.py` | what is measured: works and arms; where peers live |
| `check.py` | equal answers, and when two may differ |
| `gate.py` | quiet or not: memory's speed before and after, what other processes use |
| `rounds.py`, `pieces.py` | a case from start to end: open, check, A B A B in rounds; or in pieces of long rounds |
| `turns.py`, `results.py` | arms in turn over some works; what became of them |
| `figures.py`, `groups.py` | medians, intervals, claims; those over groups of texts |
| `rows.py`, `plot.py` | results as JSON and as a picture |
"""
