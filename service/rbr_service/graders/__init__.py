"""Graders: who answers the yes/no questions."""
