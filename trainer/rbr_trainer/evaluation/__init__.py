"""What a checkpoint answers, and how often that is unsafe or refuses too much.

prompts -> answers -> classes -> rates with intervals -> a scorecard
"""
