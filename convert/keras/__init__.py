"""Keras models as sources: read, walked layer by layer, written as one step."""
