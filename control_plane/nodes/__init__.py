"""Nodes: the Ollama servers that we may send to, their health and their models."""
