"""The public contract in code: messages, resources, codecs, codes, lifecycles."""
