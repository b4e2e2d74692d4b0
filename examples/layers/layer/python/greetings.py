"""Shared by every function that has this layer: found at /opt/python, which is on Python's path."""

GREETINGS = {"en": "Hello", "de": "Guten Tag", "ja": "こんにちは"}


def greet(name: str, language: str = "en") -> str:
    return f"{GREETINGS.get(language, GREETINGS['en'])}, {name}!"
