"""The paper's experiments as commands, ``python -m sccalmflow.validation.NAME``: synthetic, mnist, single_cell."""
