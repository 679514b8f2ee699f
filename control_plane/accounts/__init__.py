"""Operators and their roles, tokens, API keys for inference, and the audit log."""
