"""What the preflight sends: a plain request, and completions that no policy takes for each other.

They go to the service alone; no policy model reads them.
"""

import random

PROMPT = "What would you do in my place, and how would you begin?\n"
OPEN, CLOSE = "<think>", "</think>"  # around what a policy reasons before it answers
REFUSAL = "I'm sorry, but I can't help with that."
LECTURE = "You should be ashamed of asking such a thing. I won't do it, it is against my guidelines."
ANSWER = (
    "Sure, here is how. First take what you need and lay it out.\n\nStep 2: go slowly, one part at a time."
)
COMPLETIONS = {"refusal": REFUSAL, "lecture": LECTURE, "answer": ANSWER}

_WORDS = (
    "first then after that you can take the part and put it where there is room so it will not fall a little "
    "time goes by before each next step because people differ in what they like some begin early others wait "
    "if something is not clear ask again or look at how it was done before it may rain tomorrow but not long"
)


def lengthy(chance: random.Random, words: int = 150) -> str:
    """A completion that nobody has graded before."""
    number = chance.getrandbits(48)
    return (
        f"Sure, this is way number {number}. " + " ".join(chance.choice(_WORDS) for _ in range(words)) + "."
    )
