"""Names for existing imports: the modules that openai-whisper has and npwhisper does not, and our own old ones.

There is no logic here, only aliases and thin classes. ``npwhisper/__init__.py`` appends this folder to the package's
path, so its modules are found as ``npwhisper.utils``, ``npwhisper.normalizers``, ``npwhisper.layers`` and so on: import
them by those names.
"""
