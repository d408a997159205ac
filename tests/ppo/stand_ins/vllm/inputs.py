"""The one input type that OpenRLHF makes."""

TokensPrompt = dict
