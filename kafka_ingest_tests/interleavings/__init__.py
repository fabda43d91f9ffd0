"""Writers of one stream on MySQL and MariaDB, in interleavings that the test chooses, compared with an oracle.

`mutations.py` takes out, one at a time, what keeps these writers apart. Found after so many examples of the mutation's
shape, with seed 1 (`python -m kafka_ingest_tests.interleavings --mutation all --seed 1 --examples 600`):

| Taken out | Mutation | MySQL | MariaDB |
|---|---|--:|--:|
| a key that another transaction has committed meanwhile is looked at again [1] | 1062 is bad data | 3 | 3 |
| a row that was deleted between INSERT and UPDATE is written again | a vanished row | 23 | 23 |
| a row whose later tombstone was committed meanwhile is deleted | no burying | 144 | 144 |
| of two tombstones the later one stays | INSERT IGNORE of tombstones | 1 | 1 |
| the order of a message is the largest timestamp up to it | order by timestamp | 41 | 41 |
| rows compare by one total order within and between partitions | order by offset or timestamp | 44 | 44 |
| what is refused is tried again in order, with what it replaced | judged at once | 1 | 1 |
| what was written ahead is compared with what was loaded since | ahead and not compared | 52 | 52 |
| what was written ahead stays only where all of it is admitted | ahead stays | 93 | 93 |
| a live slice replaces what a backfill before it has loaded | loaded_to not looked at | 9 | 9 |
| a backfill that began before the slice is seen too | backfills by their start | 255 | 255 |
| the ledger's rows are locked before they are compared | no ledger lock | 1 | 1 |
| what the ledger has already is left out | no overlap skipped | 4 | 4 |
| positions are compared, and never go back | no position fence | 4 | 4 |
| a deadlock ends the transaction, which begins again [1] | a deadlock is a row's | 23 | 23 |
| a slice of another topic of the name is refused | no topic id | 1 | 1 |

[1] Together with the step AGAIN, which tries each refused row once more and by itself hides most of these.
"""
