"""Prompts and what they want: from rows and a policy to the dataset that a trainer reads.

rows -> prompts with labels, resolved by the policy -> mix, hold-out -> rows of that trainer
"""
