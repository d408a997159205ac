"""What is scored: the messages of a conversation, the last one being the completion."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: `role` is system, user, assistant or tool; `content` its text."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A prompt (may be empty) and the assistant's completion of it."""

    prompt: tuple[Message, ...]
    completion: str

    def last_user(self) -> str:
        """The text of the last user message, or "" where there is none."""
        for message in reversed(self.prompt):
            if message.role == "user":
                return message.content
        return ""
