"""The docs: their pictures, and the tests that keep them true."""
