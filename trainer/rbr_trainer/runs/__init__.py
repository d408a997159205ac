"""The shape of a run: from its file to the command that starts OpenRLHF.

run.yaml over a preset -> RunConfig, whose parts fit each other -> flags -> Command
"""
