"""The catalogues of messages: how they are made from the code, and what keeps them complete."""
