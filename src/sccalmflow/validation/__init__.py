"""The paper's experiments as commands, ``python -m sccalmflow.validation.NAME``: so far ``synthetic``."""
