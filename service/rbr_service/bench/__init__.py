"""`rbr bench`: load as OpenRLHF makes it, and what became of it.

texts -> a body for each sample     arrivals -> when each is due
    |                                   |
    +------------> traffic <------------+     open loop: nothing waits for an answer to another
                      |
                   target   a connection for each sample -> Outcome
                      |
counters before, after -> figures -> a table and JSON
"""
