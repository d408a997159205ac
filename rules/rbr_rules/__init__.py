"""The shipped policies: YAML rules, lexical cues, ranked completions and weights."""
